// SPDX-License-Identifier: Apache-2.0
// The main thread's loop: what it hears, what is due, and how it ends.
#include "agent.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "decide_thread.h"
#include "event_source.h"
#include "exit_code.h"
#include "give_back.h"
#include "guardian.h"
#include "lease.h"
#include "lmkd_server.h"
#include "names.h"
#include "other_killer.h"
#include "process.h"
#include "protect.h"
#include "rules.h"
#include "status.h"
#include "stream.h"
#include "take_over.h"

/* For what was said last to reach those who follow. */
#define FAREWELL_NS (500 * NSEC_PER_MSEC)
/* adbd that ended comes back within seconds, if it does. */
#define PROTECT_RETRY_NS NSEC_PER_SEC
#define PROTECT_RETRIES	 30
/* A daemon that init has made a socket for runs within a second. */
#define EXPECT_RETRIES 5

static __u64 next_protect_ns; /* 0: nobody is missed */
static unsigned int protect_tries;
static unsigned int expect_tries; /* looks that are still to come */

void agent_refresh_protected(struct agent *agent)
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
	if (expect_tries) {
		expect_tries--;
		next_protect_ns = boottime_ns() + PROTECT_RETRY_NS;
	}
	take_over_check(agent);
	other_killer_check(agent);
}

void agent_expect_daemon(struct agent *agent)
{
	expect_tries = EXPECT_RETRIES;
	agent_refresh_protected(agent);
}

static void hear_decider(struct agent *agent)
{
	__u64 count;
	ssize_t got = read(agent->decider_event, &count, sizeof(count));

	(void)got; /* nothing there: then nothing is done below either */
	agent_report_kills(agent);
	if (decider_pressure_began(agent->decider)) {
		names_refresh();
		rules_refresh(agent);
		agent_refresh_protected(agent);
	}
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
	agent_watch_guardian(agent);
	agent_say(agent, lmk_v1_Lifecycle_Kind_GUARDIAN_RESTARTED, NULL,
		  "the guardian died; pid %d is the new one", pid);
	agent_refresh_protected(agent);
	error = agent_write_session(agent);
	if (error)
		log_line("session file: %s", strerror(-error));
}

static void hear(struct agent *agent, const struct epoll_event *event)
{
	switch ((enum source)(event->data.u64 >> 32)) {
	case SOURCE_TIMER:
		break; /* what is due is looked up on every turn */
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
		agent_refresh_protected(agent);
		break;
	case SOURCE_PACKAGES:
		rules_hear_packages(agent);
		break;
	case SOURCE_RENAMED:
		rules_hear_renamed(agent);
		break;
	case SOURCE_CGROUPS:
		rules_hear_cgroups(agent);
		break;
	case SOURCE_LMKD_PLACE:
		take_over_hear_place(agent);
		break;
	case SOURCE_OTHER_KILLER:
		other_killer_hear(agent);
		break;
	case SOURCE_LMKD_LISTENER:
		if (agent->lmkd)
			lmkd_server_accept(agent->lmkd);
		break;
	case SOURCE_LMKD_CLIENT:
		if (agent->lmkd)
			lmkd_server_event(agent->lmkd, (__u32)event->data.u64);
		break;
	default:
		break;
	}
}

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

/* Kills by others that were held back; returns when the next is due, 0: none. */
static __u64 report_held_back(struct agent *agent, __u64 now_ns)
{
	__u64 due_ns = others_due_ns(agent->shared);

	if (due_ns && now_ns >= due_ns) {
		agent_report_kills(agent);
		due_ns = others_due_ns(agent->shared);
	}
	return due_ns;
}

/* Does what is due; returns when the next thing is, 0: never. */
static __u64 keep_time(struct agent *agent)
{
	__u64 now_ns = boottime_ns();
	/* Before the beat: it tells who has read the last one. */
	__u64 next_ns = client_expire(agent, now_ns);

	if (!anybody_follows(agent)) {
		agent->next_beat_ns = 0;
	} else if (agent->next_beat_ns && now_ns >= agent->next_beat_ns) {
		stream_beat(agent);
		agent->next_beat_ns = now_ns + HEARTBEAT_NS;
	}
	next_ns = earlier(next_ns, agent->next_beat_ns);
	next_ns = earlier(next_ns, status_expire_costs(agent, now_ns));
	if (agent->decider) {
		if (now_ns >= agent->next_names_ns) {
			names_refresh();
			rules_refresh(agent);
			if (agent->replacing || agent->others_stopped)
				agent_refresh_protected(agent);
			agent->next_names_ns = now_ns + NAMES_REFRESH_NS;
		}
		if (next_protect_ns && now_ns >= next_protect_ns)
			agent_refresh_protected(agent);
		next_ns = earlier(next_ns, agent->next_names_ns);
		next_ns = earlier(next_ns, rules_look_at_new(agent, now_ns));
		next_ns = earlier(next_ns, next_protect_ns);
		next_ns = earlier(next_ns, report_held_back(agent, now_ns));
	}
	if (lease_ended(agent->shared) && !agent->give_back) {
		agent_say(agent, lmk_v1_Lifecycle_Kind_LEASE_ENDED, NULL,
			  "for %" PRIu64 " ms nobody followed the records or asked for anything",
			  (uint64_t)agent->shared->lease_ms);
		agent->give_back = GIVE_BACK_LEASE;
	}
	return earlier(next_ns, agent->shared->lease_ms && !agent->give_back
					? agent->shared->lease_end_ns
					: 0);
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

/* A session that ends may take that long to do its next step: the guardian lets it. */
static void hold_on(struct agent *agent, __u64 for_ns)
{
	agent->shared->leaving_until_ns = boottime_ns() + for_ns;
}

/* As ever, but for the lease, which has no say any more; until then, or somebody asks for the end.
 */
static void go_on_until(struct agent *agent, __u64 end_ns)
{
	agent->end_asked = false;
	while (!agent->end_asked && boottime_ns() < end_ns) {
		set_timer(agent, earlier(keep_time(agent), end_ns));
		turn(agent, agent->spooled ? 0 : -1);
	}
}

/*
 * lmkd is asked to come, and this agent serves and kills until it answers, however long that takes:
 * the device is never left to somebody who may not kill.
 */
static void end_take_over(struct agent *agent)
{
	__u64 pause_ns = LMKD_PAUSE_NS;

	hold_on(agent, LMKD_ANSWER_NS);
	while (!take_over_end(agent)) {
		hold_on(agent, pause_ns + LMKD_TRY_NS);
		go_on_until(agent, boottime_ns() + pause_ns);
		pause_ns = lmkd_next_pause(pause_ns);
	}
}

/* What was said last goes out; then all that is ours goes, and the guardian does the rest. */
static int leave(struct agent *agent)
{
	struct pollfd guardian = {.fd = agent->guardian_pidfd, .events = POLLIN};
	__u64 end_ns = boottime_ns() + FAREWELL_NS;
	bool all_taken;

	/* What was killed so far we tell: lmkd cannot. */
	agent_report_kills(agent);
	end_take_over(agent);
	other_killer_end(agent);
	if (agent->decider) {
		note_could_kill(agent->shared, true);
		decider_stop(agent->decider);
		do {
			all_taken = decider_drain(agent->decider);
			agent_report_kills(agent);
		} while (!all_taken);
	}
	serve_followers(agent);
	while (somebody_waits(agent) && boottime_ns() < end_ns)
		turn(agent, 10);
	agent->shared->give_back = (__u32)agent->give_back;
	if (poll(&guardian, 1, 0) == 0)
		return EXIT_OK; /* it lives, and is waiting for our end */
	return give_back(agent->shared, agent->shared->with_handlers) ? EXIT_BUG : EXIT_OK;
}

int agent_loop(struct agent *agent)
{
	while (!agent->give_back) {
		set_timer(agent, keep_time(agent));
		if (!agent->give_back)
			turn(agent, agent->spooled ? 0 : -1);
	}
	return leave(agent);
}
