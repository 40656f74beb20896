// SPDX-License-Identifier: Apache-2.0
#include "take_over.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "clock.h"
#include "event_source.h"
#include "exit_code.h"
#include "inotify_events.h"
#include "lmkd_replaced.h"
#include "lmkd_serve.h"
#include "lmkd_service.h"
#include "protect.h"

#define SOCKET_DIR  "/dev/socket"
#define SOCKET_FILE "lmkd"

static int place_fd = -1;

/* So that an lmkd that comes back is noticed when it does, not when memory is short next. */
static void watch_place(struct agent *agent)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = event_source(SOURCE_LMKD_PLACE, 0)};

	place_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (place_fd < 0 || inotify_add_watch(place_fd, SOCKET_DIR, IN_CREATE | IN_MOVED_TO) < 0 ||
	    epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, place_fd, &event))
		log_line("lmkd: " SOCKET_DIR " is not watched: %s", strerror(errno));
}

int take_over(struct agent *agent, char *why, size_t size)
{
	struct lmkd_gaps gaps = {.killer_known = true, .socket_known = true};
	__u64 ended_ns = 0, serving_ns;
	int error;

	error = lmkd_service_probe(why, size);
	if (error)
		return error;
	if (lmkd_service_runs()) {
		/* First the note: whoever outlives the next step knows what it did. */
		error = lmkd_replaced_note(agent->shared->dir);
		if (error) {
			snprintf(why, size, "that lmkd was stopped cannot be noted in %s: %s",
				 agent->shared->dir, strerror(-error));
			return error;
		}
		error = lmkd_service_stop(&ended_ns, why, size);
		if (error)
			return error;
	}
	error = lmkd_serve(agent);
	if (error) {
		snprintf(why, size, "%s: %s", agent->shared->lmkd_socket, strerror(-error));
		return error;
	}
	serving_ns = boottime_ns();
	agent->replacing = true;
	watch_place(agent);
	if (ended_ns) {
		gaps.killer_ms = lmkd_gap_ms(ended_ns, agent->deciding_ns);
		gaps.socket_ms = lmkd_gap_ms(ended_ns, serving_ns);
		agent_say_gaps(agent, lmk_v1_Lifecycle_Kind_LMKD_REPLACED, &gaps,
			       "lmkd was stopped: %u ms without a killer, its socket empty for "
			       "%u ms",
			       gaps.killer_ms, gaps.socket_ms);
	} else {
		agent_say(agent, lmk_v1_Lifecycle_Kind_LMKD_REPLACED, NULL,
			  "lmkd did not run, and is not started at the end");
	}
	/* lmkd is protected no more; and one that was started since is noticed. */
	agent_refresh_protected(agent);
	return 0;
}

void take_over_resume(struct agent *agent)
{
	agent->replacing = true;
	agent_refresh_protected(agent);
	watch_place(agent);
}

/* Not where somebody started lmkd since: the file that is there may be its new one. */
static void serve_again(struct agent *agent)
{
	int error = lmkd_service_runs() ? -EBUSY : lmkd_serve(agent);

	if (error)
		log_line("lmkd: %s is not served: %s", agent->shared->lmkd_socket,
			 strerror(-error));
}

void take_over_check(struct agent *agent)
{
	int error;

	if (!agent->replacing || agent->give_back)
		return;
	if (lmkd_silent(agent->shared->dir)) {
		/* An agent that died was giving back to it, and has said so. */
		agent->give_back = GIVE_BACK_LMKD_RETURNED;
		return;
	}
	if (!protect_lmkd_runs()) {
		if (!agent->lmkd)
			serve_again(agent);
		return;
	}
	agent_say(agent, lmk_v1_Lifecycle_Kind_LMKD_RETURNED, NULL,
		  "somebody started lmkd: the device is given back to it");
	/* Also where it did not run before: it is waited for until it answers. */
	error = lmkd_replaced_note(agent->shared->dir);
	if (error)
		log_line("lmkd: not noted: %s", strerror(-error));
	agent->give_back = GIVE_BACK_LMKD_RETURNED;
}

static bool is_lmkds_socket(const struct inotify_event *event)
{
	return event->len && !strcmp(event->name, SOCKET_FILE);
}

void take_over_hear_place(struct agent *agent)
{
	if (inotify_heard(place_fd, is_lmkds_socket))
		agent_expect_daemon(agent);
}

bool take_over_end(struct agent *agent)
{
	static __u64 left_ns;
	__u64 answered_ns, patience_ns = LMKD_ANSWER_NS;
	struct lmkd_gaps gaps = {.socket_known = true};
	bool again = lmkd_silent(agent->shared->dir);

	if (agent->replacing) {
		agent->replacing = false;
		lmkd_leave(agent);
		left_ns = boottime_ns();
	} else if (again) {
		patience_ns = LMKD_TRY_NS;
	}
	if (lmkd_restore(agent->shared->dir, patience_ns, &answered_ns)) {
		if (!again)
			agent_say(
				agent, lmk_v1_Lifecycle_Kind_LMKD_SILENT, NULL,
				"lmkd was started and does not answer: lmk goes on until it does");
		return false;
	}
	if (!answered_ns)
		return true;
	/* The deciding thread runs on until after this: never a moment without a killer. */
	agent->shared->lmkd_answered_ns = answered_ns;
	gaps.socket_ms = lmkd_gap_ms(left_ns, answered_ns);
	agent_say_gaps(agent, lmk_v1_Lifecycle_Kind_LMKD_RESTORED, &gaps,
		       "lmkd answers; its socket was empty for %u ms", gaps.socket_ms);
	return true;
}
