// SPDX-License-Identifier: Apache-2.0
#include "lmkd_serve.h"

#include <string.h>

#include "clock.h"
#include "exit_code.h"
#include "lmkd_feed.h"
#include "lmkd_report.h"
#include "lmkd_server.h"
#include "lmkd_socket.h"
#include "lmkd_traces.h"
#include "names.h"
#include "property.h"
#include "property_later.h"
#include "rules.h"

/* Before it has booted, a device is asked again after this. */
#define BOOT_ASKED_NS (100 * NSEC_PER_MSEC)

static struct lmkd_server lmkd_server;

static void set_later(const char *name, const char *value)
{
	int error = property_set_later(name, value);

	if (error)
		log_line("setprop %s '%s': %s", name, value, strerror(-error));
}

/* Its name at once, and the handlers get to know what the kernel does not. */
static enum lmkd_refusal take_registered(void *context, struct lmkd_registry *registry, __s32 pid)
{
	struct lmkd_record *record = lmkd_find(registry, pid);
	struct agent *agent = context;

	if (!record || !agent->decider)
		return LMKD_TAKEN;
	if (!record->named) {
		names_read_again(record->pid, record->start_ticks);
		rules_look_at_process(agent, record->pid);
		record->named = true;
	}
	return lmkd_feed_put(registry, record);
}

/* Once: also what a dead agent told the handlers is known from then on. */
static void feed_handlers(const struct agent *agent)
{
	const struct lmkd_feed feed = {.entries = agent->pins.registered,
				       .count = agent->pins.registered_count};
	static bool fed;
	int error;

	if (fed || !agent->decider)
		return;
	fed = true;
	error = lmkd_feed_open(&lmkd_server.registry, &feed);
	if (error)
		log_line("lmkd socket: map registered: %s", strerror(-error));
}

static void say_targets(void *context, const struct lmkd_target *targets, __u32 count)
{
	char value[PROPERTY_BYTES];

	(void)context;
	lmkd_minfree_levels(targets, count, value, sizeof(value));
	set_later("sys.lmk.minfree_levels", value);
}

/*
 * lmkd reads its ro.lmk.* anew. Here a policy is the host's, so that there is nothing that could
 * fail: what properties say is carried over by `lmk policy pull`, and only by it.
 */
static int keep_policy(void *context)
{
	static __u64 count;

	(void)context;
	count++;
	if (count_is_logged(count))
		log_line("lmkd socket: properties have changed (%llu times so far): the policy "
			 "stays as it is",
			 count);
	return 0;
}

/* Of an lmkd with ro.lmk.delay_monitors_until_boot. The handlers have decided since they are there.
 */
static void note_monitoring(void *context)
{
	static bool said;

	(void)context;
	if (!said)
		log_line("lmkd socket: monitoring is asked for, and goes on already");
	said = true;
}

/* As far as is known: getprop is a process, so a client that goes on asking waits for its turn. */
static bool has_booted(void *context)
{
	static __u64 asked_ns;
	char value[PROPERTY_BYTES];
	__u64 now_ns = boottime_ns();

	(void)context;
	if (asked_ns && now_ns - asked_ns < BOOT_ASKED_NS)
		return false;
	if (property_get("sys.boot_completed", value))
		value[0] = 0;
	asked_ns = boottime_ns();
	return !strcmp(value, "1");
}

void lmkd_begin(struct agent *agent)
{
	lmkd_server_begin(&lmkd_server, &agent->shared->lmkd_missed);
}

int lmkd_serve(struct agent *agent)
{
	const struct lmkd_hooks hooks = {
		.context = agent,
		.registered = take_registered,
		.targets = say_targets,
		.update_props = keep_policy,
		.start_monitoring = note_monitoring,
		.boot_completed = has_booted,
	};
	const struct shared *shared = agent->shared;
	int listener, error;

	feed_handlers(agent);
	listener = lmkd_listen(shared->lmkd_socket);
	if (listener < 0)
		return listener;
	/* What handlers need is there before boot ends. */
	error = lmkd_server_open(&lmkd_server, agent->epoll_fd, listener, &hooks);
	if (error) {
		lmkd_server_close(&lmkd_server);
		return error;
	}
	lmkd_server.short_killed = shared->lmkd_short_killed;
	agent->lmkd = &lmkd_server;
	set_later("sys.lmk.reportkills", "1");
	return 0;
}

/* Also while the socket cannot be served yet; not once it is lmkd's again. */
static bool in_its_place(const struct agent *agent)
{
	return agent->shared->lmkd_socket[0] && (agent->lmkd || !agent->give_back);
}

void lmkd_tell(struct agent *agent, const struct kill *kill)
{
	char name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;

	if (!in_its_place(agent) || !lmkd_report(kill, &killed, name))
		return;
	lmkd_server_killed(&lmkd_server, &killed);
	lmkd_leave_traces(kill, &killed);
}

void lmkd_tell_end(const struct agent *agent, const struct kill *kill)
{
	if (in_its_place(agent) && !kill->event.dry_run && !kill->event.kill_result)
		lmkd_trace_end(kill);
}

void lmkd_keep(struct shared *shared, const struct kill *kill)
{
	char name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;

	if (shared->lmkd_socket[0] && !kill->told && lmkd_report(kill, &killed, name))
		lmkd_missed_add(&shared->lmkd_missed, &killed, LMKD_WAITS_FOR_ALL);
}

void lmkd_leave(struct agent *agent)
{
	if (!agent->lmkd)
		return;
	lmkd_server_close(agent->lmkd);
	agent->lmkd = NULL;
}
