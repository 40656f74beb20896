// SPDX-License-Identifier: Apache-2.0
// How an agent comes up: spool, handlers, sockets, session file; then its loop (agent.c).
#include "agent.h"

#include <errno.h>
#include <inttypes.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "clock.h"
#include "decide_thread.h"
#include "event_source.h"
#include "exit_code.h"
#include "guardian.h"
#include "lmkd_serve.h"
#include "names.h"
#include "other_killer.h"
#include "pageout.h"
#include "policy_check.h"
#include "policy_from_pb.h"
#include "process.h"
#include "rules.h"
#include "sha256.h"
#include "socket.h"
#include "take_over.h"

static struct agent agent_state;
static struct client clients[CLIENTS_MAX];

int agent_set_policy(struct agent *agent, const lmk_v1_Policy *policy)
{
	struct shared *shared = agent->shared;
	__u8 bytes[lmk_v1_Policy_size];
	pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof(bytes));
	struct lmk_policy view;
	int error;

	if (!pb_encode(&stream, lmk_v1_Policy_fields, policy))
		return -EMSGSIZE;
	lmk_policy_from_pb(policy, &view);
	error = rules_prepare(agent, policy, &view);
	if (!error)
		error = bpf_put_policy(&agent->pins, &view);
	if (error)
		return error;
	if (policy != &agent->policy)
		agent->policy = *policy;
	rules_settle(agent);
	pageout_set_policy(policy);
	/* For the next agent. */
	memcpy(shared->policy, bytes, stream.bytes_written);
	shared->policy_bytes = (__u32)stream.bytes_written;
	shared->kill_timeout_ms = policy->timing.kill_timeout_ms;
	return 0;
}

int agent_write_session(struct agent *agent)
{
	struct session *session = &agent->session;
	struct process_stat stat;

	session->guardian_pid = agent->shared->guardian_pid;
	if (!process_stat(session->guardian_pid, &stat))
		session->guardian_start_ticks = stat.start_ticks;
	session->agent_restarts = agent->shared->agent_restarts;
	return session_write(agent->shared->dir, session);
}

void agent_watch_guardian(struct agent *agent)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = event_source(SOURCE_GUARDIAN, 0)};

	agent->guardian_pidfd = pidfd_open(agent->shared->guardian_pid);
	if (agent->guardian_pidfd < 0 ||
	    epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, agent->guardian_pidfd, &event))
		log_line("guardian %d: not watched", agent->shared->guardian_pid);
}

static int add_source(struct agent *agent, int fd, enum source source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_source(source, 0)};

	/* Edge-triggered, the timer needs no read: setting it anew clears it. */
	if (source == SOURCE_TIMER)
		event.events |= EPOLLET;
	if (fd < 0)
		return fd == -1 ? -errno : fd;
	return epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_session(struct agent *agent)
{
	struct session *session = &agent->session;
	__u8 message[9 + TOKEN_BYTES] = "lmk-hello", digest[SHA256_BYTES];
	struct process_stat stat;
	int error;

	error = random_bytes(session->token, TOKEN_BYTES);
	if (error)
		return error;
	memcpy(message + 9, session->token, TOKEN_BYTES);
	sha256(message, sizeof(message), digest);
	memcpy(agent->token_proof, digest, sizeof(agent->token_proof));
	agent->record_listener = socket_listen("lmk-records", session->record_socket);
	error = add_source(agent, agent->record_listener, SOURCE_RECORD_LISTENER);
	if (error)
		return error;
	agent->control_listener = socket_listen("lmk-control", session->control_socket);
	error = add_source(agent, agent->control_listener, SOURCE_CONTROL_LISTENER);
	if (error)
		return error;
	snprintf(session->build_id, sizeof(session->build_id), "%s", agent->shared->build_id);
	snprintf(session->holder, sizeof(session->holder), "%s", agent->shared->holder);
	session->run = agent->spool.run;
	session->kill_path = agent->shared->kill_path;
	session->replacing = agent->replacing;
	session->agent_pid = getpid();
	if (!process_stat(getpid(), &stat))
		session->agent_start_ticks = stat.start_ticks;
	return agent_write_session(agent);
}

/* Not where an agent died after it had swapped the policy and before it had noted the new one. */
static bool is_in_force(const struct agent *agent)
{
	struct lmk_policy noted, in_force;

	if (bpf_policy_in_force(&agent->pins, &in_force))
		return false;
	lmk_policy_from_pb(&agent->policy, &noted);
	noted.rules_generation = in_force.rules_generation;
	noted.rules_kinds = in_force.rules_kinds;
	return !memcmp(&noted, &in_force, sizeof(noted));
}

static int open_handlers(struct agent *agent)
{
	struct shared *shared = agent->shared;
	const char *missing = "";
	char why[96];
	int error;

	error = pins_open(&agent->pins, &missing);
	if (error) {
		log_line("%s: %s", missing, strerror(-error));
		return error;
	}
	if (!policy_decode(shared->policy, shared->policy_bytes, &agent->policy, why,
			   sizeof(why))) {
		log_line("policy: %s", why);
		return -EINVAL;
	}
	shared->kill_timeout_ms = agent->policy.timing.kill_timeout_ms;
	/* The handlers wait for rules (write_view()), or know those that a dead agent resolved. */
	if (agent->policy.rules_count || !is_in_force(agent)) {
		error = agent_set_policy(agent, &agent->policy);
		if (error) {
			log_line("policy: %s", strerror(-error));
			return error;
		}
	}
	names_refresh();
	agent->next_names_ns = boottime_ns() + NAMES_REFRESH_NS;
	agent->decider_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = add_source(agent, agent->decider_event, SOURCE_DECIDER);
	if (error)
		return error;
	agent->decider = decider_start(&agent->pins, shared, agent->decider_event);
	if (!agent->decider)
		return -errno;
	agent->deciding_ns = boottime_ns();
	agent_refresh_protected(agent);
	error = pageout_start(&agent->pins);
	if (error)
		return error;
	pageout_set_policy(&agent->policy);
	return 0;
}

static int open_all(struct agent *agent)
{
	struct shared *shared = agent->shared;
	int error;

	agent->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	agent->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (agent->epoll_fd < 0)
		return -errno;
	error = add_source(agent, agent->timer_fd, SOURCE_TIMER);
	if (!error)
		error = read_boot_id(agent->session.boot_id);
	if (!error)
		error = spool_open(&agent->spool, shared->dir, agent->session.boot_id,
				   shared->spool_limit_kb);
	if (!error)
		error = spool_begin_run(&agent->spool, shared->run);
	if (error)
		return error;
	shared->run = agent->spool.run;
	agent_watch_guardian(agent);
	return shared->with_handlers ? open_handlers(agent) : 0;
}

/* The line that `start` prints: the sockets listen now. */
static void tell_start(const struct agent *agent)
{
	const struct session *session = &agent->session;
	const struct shared *shared = agent->shared;
	ssize_t written;
	char line[1024];
	int length;

	length = snprintf(
		line, sizeof(line),
		"{\"agent_pid\": %d, \"guardian_pid\": %d, \"session_file\": \"%s/session\", "
		"\"record_socket\": \"%s\", \"control_socket\": \"%s\", \"run\": %u, "
		"\"boot_id\": \"%s\", \"build_id\": \"%s\", \"kill_path\": \"%s\", "
		"\"carrier\": \"%s\", \"self_test\": %d, \"lease_ms\": %" PRIu64 "}\n",
		session->agent_pid, session->guardian_pid, shared->dir, session->record_socket,
		session->control_socket, session->run, session->boot_id, session->build_id,
		kill_path_name(shared->kill_path), carrier_name(shared->carrier),
		shared->self_test_result, (uint64_t)shared->lease_ms);
	written = write(FD_READY, line, (size_t)length);
	(void)written; /* `start` was interrupted: the session stands all the same */
}

/*
 * Why there is no session after all, for `start` to say: `what`, and why. Whoever was to be
 * replaced goes on, or the guardian sees to it.
 */
static int tell_refusal(struct agent *agent, enum exit_code code, const char *what, const char *why)
{
	ssize_t written;
	char line[320];
	int length;

	log_line("agent: %s: %s", what, why);
	agent_say(agent, lmk_v1_Lifecycle_Kind_DETACHED, NULL, "%s: %s", what, why);
	length = snprintf(line, sizeof(line), "%c%d %s: %s\n", START_FAILED, code, what, why);
	written = write(FD_READY, line, (size_t)length);
	(void)written; /* `start` was interrupted */
	return code;
}

/* The first records of a run. */
static void say_first_records(struct agent *agent, bool resumed)
{
	if (resumed)
		agent_say(agent, lmk_v1_Lifecycle_Kind_RESUMED, NULL,
			  "agent %d took over; restart %u", getpid(),
			  agent->shared->agent_restarts);
	else
		agent_say(agent, lmk_v1_Lifecycle_Kind_ATTACHED, NULL, "%s, policy %s%s",
			  kill_path_name(agent->shared->kill_path),
			  agent->shared->with_handlers ? agent->policy.name : "(none)",
			  agent->policy.dry_run ? ", dry run" : "");
	if (agent->shared->with_handlers && !resumed)
		agent_say(agent, lmk_v1_Lifecycle_Kind_SELF_TEST, NULL, "%s",
			  agent->shared->self_test_text);
	if (agent->shared->leftovers_found && !resumed)
		agent_say(agent, lmk_v1_Lifecycle_Kind_LEFTOVERS, NULL,
			  "the handlers of a session whose agent and guardian were dead were "
			  "replaced; they had killed %u times since",
			  agent->shared->leftover_kills);
	/* What was found of that earlier session, or left by the agent before. */
	agent_report_kills(agent);
}

int agent_main(void)
{
	struct agent *agent = &agent_state;
	struct shared *shared = shared_open();
	bool first, resumed;
	char why[224];
	int error;

	if (!shared) {
		log_line("agent: no session: %s", strerror(errno));
		return EXIT_USAGE;
	}
	become_daemon("lmk-agent", shared->dir);
	first = shared_take_ready();
	resumed = shared->run != 0;
	agent->shared = shared;
	agent->clients = clients;
	shared->agent_pid = getpid();
	lmkd_begin(agent);
	error = open_all(agent);
	if (error) {
		log_line("agent: %s", strerror(-error));
		return EXIT_BUG;
	}
	/* In lmkd's place it is served once that is empty. */
	if (shared->lmkd_socket[0] && !shared->replace_lmkd) {
		error = lmkd_serve(agent);
		if (error) {
			log_line("agent: %s: %s", shared->lmkd_socket, strerror(-error));
			return EXIT_BUG;
		}
	}
	say_first_records(agent, resumed);
	if (shared->replace_lmkd && !resumed && take_over(agent, why, sizeof(why)))
		return tell_refusal(agent, EXIT_TRANSIENT, "lmkd is not replaced", why);
	if (shared->replace_lmkd && resumed)
		take_over_resume(agent);
	if (agent->decider && resumed)
		other_killer_resume(agent);
	else if (agent->decider && !agent->policy.dry_run)
		error = other_killer_stop(agent, why, sizeof(why));
	if (error)
		return tell_refusal(agent, error == -EACCES ? EXIT_USAGE : EXIT_TRANSIENT,
				    "the other killer is not stopped", why);
	/* Whoever finds the session file finds those records too. */
	error = open_session(agent);
	if (error) {
		log_line("agent: sockets: %s", strerror(-error));
		return EXIT_BUG;
	}
	shared->agent_ready = 1;
	if (first) {
		tell_start(agent);
		close(FD_READY);
		shared_take_ready();
	}
	return agent_loop(agent);
}
