// SPDX-License-Identifier: Apache-2.0
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "decide_thread.h"
#include "event_source.h"
#include "exit_code.h"
#include "give_back.h"
#include "guardian.h"
#include "lease.h"
#include "names.h"
#include "policy_check.h"
#include "policy_from_pb.h"
#include "process.h"
#include "protect.h"
#include "sha256.h"
#include "socket.h"
#include "stream.h"

#define REFUSED_BURST	  8
#define REFUSED_WINDOW_NS (60 * NSEC_PER_SEC)
/* For what was said last to reach those who follow. */
#define FAREWELL_NS (500 * NSEC_PER_MSEC)
/* adbd that ended comes back within seconds, if it does. */
#define PROTECT_RETRY_NS NSEC_PER_SEC
#define PROTECT_RETRIES	 30

static struct agent agent_state;
static struct client clients[CLIENTS_MAX];
static __u64 next_protect_ns; /* 0: nobody is missed */
static unsigned int protect_tries;

/* --- records ---------------------------------------------------------------------------- */

static void spool(struct agent *agent, const __u8 *payload, size_t length)
{
	int error;

	if (!length) {
		log_line("record: not encoded");
		return;
	}
	error = spool_append(&agent->spool, payload, length);
	if (error)
		log_line("spool: record %" PRIu64 " not written: %s",
			 (uint64_t)agent->spool.next_seq - 1, strerror(-error));
	agent->spooled = true;
}

void agent_say(struct agent *agent, lmk_v1_Lifecycle_Kind kind, const struct record_peer *peer,
	       const char *format, ...)
{
	__u8 payload[lmk_v1_Record_size];
	va_list arguments;
	char text[160];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	spool(agent, payload,
	      record_lifecycle(payload, agent->spool.run, agent->spool.next_seq, kind, peer, text));
}

void agent_refused(struct agent *agent, const struct record_peer *peer, const char *why)
{
	__u64 now_ns = boottime_ns();

	if (now_ns - agent->refused_window_ns >= REFUSED_WINDOW_NS) {
		agent->refused_window_ns = now_ns;
		agent->refused_in_window = 0;
	}
	if (agent->refused_in_window++ >= REFUSED_BURST) {
		agent->refused_unsaid++;
		return;
	}
	if (agent->refused_unsaid)
		agent_say(agent, lmk_v1_Lifecycle_Kind_CLIENT_REFUSED, peer,
			  "%s; %u more before it", why, agent->refused_unsaid);
	else
		agent_say(agent, lmk_v1_Lifecycle_Kind_CLIENT_REFUSED, peer, "%s", why);
	agent->refused_unsaid = 0;
}

void agent_losses(struct agent *agent, __u64 *ring, __u64 *queue)
{
	struct lmk_counters counters;
	__u32 zero = 0;

	*ring = *queue = 0;
	if (!agent->decider)
		return;
	*queue = decider_queue_lost(agent->decider);
	if (!bpf_map_get(agent->pins.counters, &zero, &counters))
		*ring = counters.ring_lost;
}

void agent_hello(struct agent *agent, lmk_v1_Hello *hello)
{
	struct shared *shared = agent->shared;
	struct utsname uts = {0};

	uname(&uts);
	memset(hello, 0, sizeof(*hello));
	hello->protocol_version = RECORD_PROTOCOL_VERSION;
	snprintf(hello->build_id, sizeof(hello->build_id), "%s", shared->build_id);
	hello->token_proof.size = sizeof(agent->token_proof);
	memcpy(hello->token_proof.bytes, agent->token_proof, sizeof(agent->token_proof));
	snprintf(hello->device_name, sizeof(hello->device_name), "%.63s",
		 shared->device_name[0] ? shared->device_name : uts.nodename);
	snprintf(hello->abi, sizeof(hello->abi), "%.15s", uts.machine);
	snprintf(hello->kernel_release, sizeof(hello->kernel_release), "%s", uts.release);
	hello->kill_path = (lmk_v1_KillPath)shared->kill_path;
	snprintf(hello->boot_id, sizeof(hello->boot_id), "%s", agent->session.boot_id);
	hello->run = agent->spool.run;
	hello->boottime_ns = boottime_ns();
	hello->realtime_ns = realtime_ns();
	hello->first_seq = spool_first_seq(&agent->spool, agent->spool.run);
	hello->next_seq = agent->spool.next_seq;
	snprintf(hello->policy_name, sizeof(hello->policy_name), "%s", agent->policy.name);
	hello->dry_run = agent->policy.dry_run;
	hello->carrier = (lmk_v1_Carrier)shared->carrier;
}

int agent_set_policy(struct agent *agent, const lmk_v1_Policy *policy)
{
	struct shared *shared = agent->shared;
	__u8 bytes[lmk_v1_Policy_size];
	pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof(bytes));
	struct lmk_policy view;
	__u32 zero = 0;
	int error;

	if (!pb_encode(&stream, lmk_v1_Policy_fields, policy))
		return -EMSGSIZE;
	lmk_policy_from_pb(policy, &view);
	error = bpf_map_set(agent->pins.policy, &zero, &view);
	if (error)
		return error;
	agent->policy = *policy;
	/* For the next agent. */
	memcpy(shared->policy, bytes, stream.bytes_written);
	shared->policy_bytes = (__u32)stream.bytes_written;
	shared->kill_timeout_ms = policy->timing.kill_timeout_ms;
	return 0;
}

/* --- what the loop hears ------------------------------------------------------------------ */

static void refresh_protected(struct agent *agent)
{
	bool complete = false;
	int error;

	if (!agent->decider)
		return;
	error = protect_refresh(&agent->pins, getpid(), agent->shared->guardian_pid,
				agent->epoll_fd, &complete);
	if (error)
		log_line("protected map: %s", strerror(-error));
	next_protect_ns = 0;
	if (!complete && protect_tries < PROTECT_RETRIES) {
		protect_tries++;
		next_protect_ns = boottime_ns() + PROTECT_RETRY_NS;
	}
	if (complete)
		protect_tries = 0;
}

static void spool_finished_kills(struct agent *agent)
{
	struct shared *shared = agent->shared;
	__u8 payload[lmk_v1_Record_size];

	for (;;) {
		struct kill *first = NULL;

		/* In the order they were made. */
		for (__u32 i = 0; i < KILL_SLOTS; i++) {
			struct kill *kill = &shared->kills[i];

			if (atomic_load_explicit(&kill->state, memory_order_acquire) == KILL_DONE &&
			    (!first || kill->event.kill_id < first->event.kill_id))
				first = kill;
		}
		if (!first)
			return;
		/* A dead agent may have spooled it and not lived to free it. */
		if (first->event.kill_id != shared->last_kill_id)
			spool(agent, payload,
			      record_kill(payload, agent->spool.run, agent->spool.next_seq, first));
		shared->last_kill_id = first->event.kill_id;
		/* The next to die are likely these: read their names while they are well. */
		for (__u32 i = 0; i < first->event.n_candidates && i < LMK_CANDIDATES; i++)
			names_read(first->event.candidates[i].pid,
				   process_ticks(first->event.candidates[i].start_ns));
		atomic_store_explicit(&first->state, KILL_FREE, memory_order_release);
	}
}

static void hear_decider(struct agent *agent)
{
	__u64 count;
	ssize_t got = read(agent->decider_event, &count, sizeof(count));

	(void)got; /* nothing there: then nothing is done below either */
	spool_finished_kills(agent);
	if (decider_pressure_began(agent->decider)) {
		names_refresh();
		refresh_protected(agent);
	}
}

static int write_session(struct agent *agent)
{
	struct session *session = &agent->session;
	struct process_stat stat;

	session->guardian_pid = agent->shared->guardian_pid;
	if (!process_stat(session->guardian_pid, &stat))
		session->guardian_start_ticks = stat.start_ticks;
	session->agent_restarts = agent->shared->agent_restarts;
	return session_write(agent->shared->dir, session);
}

static void watch_guardian(struct agent *agent)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = event_source(SOURCE_GUARDIAN, 0)};

	agent->guardian_pidfd = pidfd_open(agent->shared->guardian_pid);
	if (agent->guardian_pidfd < 0 ||
	    epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, agent->guardian_pidfd, &event))
		log_line("guardian %d: not watched", agent->shared->guardian_pid);
}

static void restart_guardian(struct agent *agent)
{
	int error, pid;

	close(agent->guardian_pidfd);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	/* It finds us by this, whenever it comes to look. */
	agent->shared->agent_pid = getpid();
	pid = spawn_role("guardian", false);
	if (pid < 0) {
		log_line("guardian: not started: %s", strerror(-pid));
		return;
	}
	agent->shared->guardian_pid = pid;
	watch_guardian(agent);
	agent_say(agent, lmk_v1_Lifecycle_Kind_GUARDIAN_RESTARTED, NULL,
		  "the guardian died; pid %d is the new one", pid);
	refresh_protected(agent);
	error = write_session(agent);
	if (error)
		log_line("session file: %s", strerror(-error));
}

static void hear(struct agent *agent, const struct epoll_event *event)
{
	__u64 expirations;
	ssize_t got;

	switch ((enum source)(event->data.u64 >> 32)) {
	case SOURCE_TIMER:
		got = read(agent->timer_fd, &expirations, sizeof(expirations));
		(void)got; /* what is due is looked up on every turn */
		break;
	case SOURCE_RECORD_LISTENER:
		client_accept(agent, CLIENT_RECORD);
		break;
	case SOURCE_CONTROL_LISTENER:
		client_accept(agent, CLIENT_CONTROL);
		break;
	case SOURCE_CLIENT:
		client_event(agent, (__u32)event->data.u64, event->events);
		break;
	case SOURCE_DECIDER:
		hear_decider(agent);
		break;
	case SOURCE_GUARDIAN:
		restart_guardian(agent);
		break;
	case SOURCE_PROTECTED:
		protect_tries = 0;
		refresh_protected(agent);
		break;
	default:
		break;
	}
}

/* --- time --------------------------------------------------------------------------------- */

static bool anybody_follows(const struct agent *agent)
{
	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		if (agent->clients[i].kind == CLIENT_RECORD && agent->clients[i].streaming &&
		    agent->clients[i].follow)
			return true;
	}
	return false;
}

static __u64 earlier(__u64 a_ns, __u64 b_ns)
{
	if (!a_ns || !b_ns)
		return a_ns ? a_ns : b_ns;
	return a_ns < b_ns ? a_ns : b_ns;
}

/* Does what is due; returns when the next thing is, 0: never. */
static __u64 keep_time(struct agent *agent)
{
	__u64 now_ns = boottime_ns(), next_ns = 0;

	if (!anybody_follows(agent)) {
		agent->next_beat_ns = 0;
	} else if (agent->next_beat_ns && now_ns >= agent->next_beat_ns) {
		stream_beat(agent);
		agent->next_beat_ns = now_ns + HEARTBEAT_NS;
	}
	next_ns = earlier(client_expire(agent, now_ns), agent->next_beat_ns);
	if (agent->decider) {
		if (now_ns >= agent->next_names_ns) {
			names_refresh();
			agent->next_names_ns = now_ns + NAMES_REFRESH_NS;
		}
		if (next_protect_ns && now_ns >= next_protect_ns)
			refresh_protected(agent);
		next_ns = earlier(next_ns, agent->next_names_ns);
		next_ns = earlier(next_ns, next_protect_ns);
	}
	if (lease_ended(agent->shared) && !agent->give_back) {
		agent_say(agent, lmk_v1_Lifecycle_Kind_LEASE_ENDED, NULL,
			  "for %" PRIu64 " ms nobody followed the records or asked for anything",
			  (uint64_t)agent->shared->lease_ms);
		agent->give_back = GIVE_BACK_LEASE;
	}
	return earlier(next_ns, agent->shared->lease_ms ? agent->shared->lease_end_ns : 0);
}

static void set_timer(struct agent *agent, __u64 next_ns)
{
	static __u64 set_ns;
	struct itimerspec when = {0};

	if (next_ns == set_ns)
		return;
	set_ns = next_ns;
	when.it_value.tv_sec = (time_t)(next_ns / NSEC_PER_SEC);
	when.it_value.tv_nsec = (long)(next_ns % NSEC_PER_SEC);
	/* CLOCK_BOOTTIME: a lease runs on while the device is suspended. */
	timerfd_settime(agent->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void serve_followers(struct agent *agent)
{
	agent->spooled = false;
	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &agent->clients[i];

		if (client->kind == CLIENT_RECORD && client->streaming &&
		    client->out_sent == client->out_length)
			stream_pump(agent, client);
	}
}

static void turn(struct agent *agent, int timeout_ms)
{
	struct epoll_event events[16];
	int count =
		epoll_wait(agent->epoll_fd, events, sizeof(events) / sizeof(*events), timeout_ms);

	for (int i = 0; i < count; i++)
		hear(agent, &events[i]);
	if (agent->spooled)
		serve_followers(agent);
}

static bool somebody_waits(const struct agent *agent)
{
	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		const struct client *client = &agent->clients[i];

		if (client->kind != CLIENT_FREE &&
		    (client->out_sent < client->out_length || client_unread(client)))
			return true;
	}
	return false;
}

/* What was said last goes out; then all that is ours goes, and the guardian does the rest. */
static int leave(struct agent *agent)
{
	struct pollfd guardian = {.fd = agent->guardian_pidfd, .events = POLLIN};
	__u64 end_ns = boottime_ns() + FAREWELL_NS;

	if (agent->decider) {
		decider_stop(agent->decider);
		spool_finished_kills(agent);
	}
	serve_followers(agent);
	while (somebody_waits(agent) && boottime_ns() < end_ns)
		turn(agent, 10);
	agent->shared->give_back = (__u32)agent->give_back;
	if (poll(&guardian, 1, 0) == 0)
		return EXIT_OK; /* it lives, and is waiting for our end */
	return give_back(agent->shared->dir, agent->shared->with_handlers) ? EXIT_BUG : EXIT_OK;
}

/* --- start -------------------------------------------------------------------------------- */

static int add_source(struct agent *agent, int fd, enum source source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_source(source, 0)};

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
	session->run = agent->spool.run;
	session->kill_path = agent->shared->kill_path;
	session->agent_pid = getpid();
	if (!process_stat(getpid(), &stat))
		session->agent_start_ticks = stat.start_ticks;
	return write_session(agent);
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
	names_refresh();
	agent->next_names_ns = boottime_ns() + NAMES_REFRESH_NS;
	agent->decider_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = add_source(agent, agent->decider_event, SOURCE_DECIDER);
	if (error)
		return error;
	agent->decider = decider_start(&agent->pins, shared, agent->decider_event);
	if (!agent->decider)
		return -errno;
	refresh_protected(agent);
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
	watch_guardian(agent);
	if (shared->with_handlers) {
		error = open_handlers(agent);
		if (error)
			return error;
	}
	return open_session(agent);
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

int agent_main(void)
{
	struct agent *agent = &agent_state;
	struct shared *shared = shared_open();
	bool first, resumed;
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
	error = open_all(agent);
	if (error) {
		log_line("agent: %s", strerror(-error));
		return EXIT_BUG;
	}
	if (resumed)
		agent_say(agent, lmk_v1_Lifecycle_Kind_RESUMED, NULL,
			  "agent %d took over; restart %u", getpid(), shared->agent_restarts);
	else
		agent_say(agent, lmk_v1_Lifecycle_Kind_ATTACHED, NULL, "%s, policy %s%s",
			  kill_path_name(shared->kill_path),
			  shared->with_handlers ? agent->policy.name : "(none)",
			  agent->policy.dry_run ? ", dry run" : "");
	if (shared->with_handlers && !resumed)
		agent_say(agent, lmk_v1_Lifecycle_Kind_SELF_TEST, NULL, "%s",
			  shared->self_test_text);
	shared->agent_ready = 1;
	if (first) {
		tell_start(agent);
		close(FD_READY);
		shared_take_ready();
	}
	while (!agent->give_back) {
		set_timer(agent, keep_time(agent));
		if (!agent->give_back)
			turn(agent, agent->spooled ? 0 : -1);
	}
	return leave(agent);
}
