// SPDX-License-Identifier: Apache-2.0
#include "other_killer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "event_source.h"
#include "exit_code.h"
#include "inotify_events.h"
#include "stopped_units.h"
#include "unit.h"

static const struct {
	lmk_v1_OtherKiller killer;
	const char *name;
	const char *units[2]; /* of which one is enabled, where there are two */
} killers[] = {
	{lmk_v1_OtherKiller_OTHER_KILLER_SYSTEMD_OOMD, "systemd-oomd", {"systemd-oomd.service"}},
	{lmk_v1_OtherKiller_OTHER_KILLER_EARLYOOM, "earlyoom", {"earlyoom.service"}},
	{lmk_v1_OtherKiller_OTHER_KILLER_NOHANG,
	 "nohang",
	 {"nohang.service", "nohang-desktop.service"}},
};

static struct stopped_units stopped;
static int place_fd = -1;

const char *other_killer_name(lmk_v1_OtherKiller killer)
{
	for (size_t i = 0; i < sizeof(killers) / sizeof(*killers); i++) {
		if (killers[i].killer == killer)
			return killers[i].name;
	}
	return killer == lmk_v1_OtherKiller_OTHER_KILLER_ANY ? "any" : "none";
}

static void add(const struct unit *unit)
{
	if (stopped.count == STOPPED_UNITS)
		return;
	snprintf(stopped.units[stopped.count].name, UNIT_NAME, "%s", unit->name);
	snprintf(stopped.units[stopped.count].cgroup, UNIT_CGROUP, "%s", unit->cgroup);
	stopped.count++;
}

/* A socket or a timer that is left would start it again by itself. They go, and come, first. */
static int add_triggers(const struct unit *unit)
{
	char names[sizeof(unit->triggered_by)], *name, *rest = names;
	struct unit trigger;

	memcpy(names, unit->triggered_by, sizeof(names));
	while ((name = strsep(&rest, " "))) {
		int error = *name ? unit_show(name, &trigger) : 0;

		if (error)
			return error;
		if (*name && trigger.active)
			add(&trigger);
	}
	return 0;
}

/* Adds what is active of `name`. `installed` says whether there is such a unit. 0 or -errno. */
static int look_at(const char *name, bool *installed, char *why, size_t size)
{
	struct unit unit;
	int error = unit_show(name, &unit);

	if (!error)
		error = add_triggers(&unit);
	if (error) {
		snprintf(why, size, "systemctl show %s: %s", name, strerror(-error));
		return error;
	}
	*installed = *installed || (unit.installed && !unit.masked);
	if (!unit.active)
		return 0;
	if (unit.masked) {
		snprintf(why, size,
			 "%s runs but is masked, so it could not be started again: unmask it, "
			 "or name another other_killer",
			 name);
		return -EACCES;
	}
	add(&unit);
	return 0;
}

/* Fills `stopped` with what there is to stop. 0, or -errno with why. */
static int find(struct agent *agent, lmk_v1_OtherKiller wanted, char *why, size_t size)
{
	for (size_t i = 0; i < sizeof(killers) / sizeof(*killers); i++) {
		bool installed = false, named = wanted == killers[i].killer;

		if (!named && wanted != lmk_v1_OtherKiller_OTHER_KILLER_ANY)
			continue;
		for (size_t j = 0; j < 2 && killers[i].units[j]; j++) {
			int error = look_at(killers[i].units[j], &installed, why, size);

			if (error)
				return error;
		}
		if (named && !installed)
			agent_say(agent, lmk_v1_Lifecycle_Kind_OTHER_KILLER_MISSING, NULL,
				  "%s is not installed, or masked: nobody is stopped",
				  killers[i].name);
		else if (named && !stopped.count)
			agent_say(agent, lmk_v1_Lifecycle_Kind_OTHER_KILLER_MISSING, NULL,
				  "%s did not run, and is not started at the end", killers[i].name);
	}
	return 0;
}

/* So that one that comes back is noticed when it does. */
static void watch(struct agent *agent)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = event_source(SOURCE_OTHER_KILLER, 0)};

	place_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	for (unsigned int i = 0; place_fd >= 0 && i < stopped.count; i++) {
		char place[UNIT_CGROUP], *last;

		snprintf(place, sizeof(place), "%s", stopped.units[i].cgroup);
		last = strrchr(place, '/');
		if (!last)
			continue;
		*last = 0;
		if (inotify_add_watch(place_fd, place, IN_CREATE | IN_ONLYDIR) < 0)
			log_line("other killer: %s is not watched: %s", place, strerror(errno));
	}
	if (place_fd < 0 || epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, place_fd, &event))
		log_line("other killer: not watched: %s", strerror(errno));
}

int other_killer_stop(struct agent *agent, char *why, size_t size)
{
	lmk_v1_OtherKiller wanted = agent->policy.other_killer;
	char *names[STOPPED_UNITS + 1], list[160];
	bool told_again;
	int error;

	agent->session.other_killer = other_killer_name(wanted);
	if (wanted == lmk_v1_OtherKiller_OTHER_KILLER_NONE)
		return 0;
	if (!unit_systemd_runs()) {
		if (wanted != lmk_v1_OtherKiller_OTHER_KILLER_ANY)
			agent_say(agent, lmk_v1_Lifecycle_Kind_OTHER_KILLER_MISSING, NULL,
				  "no systemd runs here: %s is not stopped, should it run",
				  other_killer_name(wanted));
		return 0;
	}
	error = find(agent, wanted, why, size);
	if (error || !stopped.count)
		return error;
	/* First the note: whoever outlives the next step knows what it did. */
	error = stopped_units_note(agent->shared->dir, &stopped);
	if (error) {
		snprintf(why, size, "what was stopped cannot be noted in %s: %s",
			 agent->shared->dir, strerror(-error));
		return error;
	}
	stopped_units_list(&stopped, list, sizeof(list));
	stopped_units_names(&stopped, names);
	error = units_stop(names, &told_again, why, size);
	if (told_again)
		stopped_units_forget(agent->shared->dir);
	if (error)
		return error;
	agent->others_stopped = true;
	watch(agent);
	agent_say(agent, lmk_v1_Lifecycle_Kind_OTHER_KILLER_STOPPED, NULL, "stopped: %s", list);
	/* One that was started since is noticed. */
	other_killer_check(agent);
	return 0;
}

void other_killer_resume(struct agent *agent)
{
	agent->session.other_killer = other_killer_name(agent->policy.other_killer);
	if (!stopped_units_read(agent->shared->dir, &stopped))
		return;
	agent->others_stopped = true;
	watch(agent);
	other_killer_check(agent);
}

void other_killer_check(struct agent *agent)
{
	for (unsigned int i = 0; i < stopped.count; i++) {
		if (!agent->others_stopped || agent->give_back ||
		    !unit_cgroup_runs(stopped.units[i].cgroup))
			continue;
		agent_say(agent, lmk_v1_Lifecycle_Kind_OTHER_KILLER_RETURNED, NULL,
			  "somebody started %s: the device is given back to it",
			  stopped.units[i].name);
		agent->give_back = GIVE_BACK_OTHER_KILLER_RETURNED;
	}
}

/* A cgroup by the name that one of theirs had. */
static bool is_theirs(const struct inotify_event *event)
{
	for (unsigned int i = 0; event->len && i < stopped.count; i++) {
		const char *last = strrchr(stopped.units[i].cgroup, '/');

		if (last && !strcmp(last + 1, event->name))
			return true;
	}
	return false;
}

void other_killer_hear(struct agent *agent)
{
	/* systemd makes the cgroup before the process. */
	if (inotify_heard(place_fd, is_theirs))
		agent_expect_daemon(agent);
}

void other_killer_list(const struct agent *agent, char *text, size_t size)
{
	text[0] = 0;
	if (agent->others_stopped)
		stopped_units_list(&stopped, text, size);
}

void other_killer_end(struct agent *agent)
{
	char list[160];

	if (!agent->others_stopped)
		return;
	agent->others_stopped = false;
	/* The deciding thread runs on until after this: never a moment without a killer. */
	if (stopped_units_restore(agent->shared->dir, list, sizeof(list)) > 0)
		agent_say(agent, lmk_v1_Lifecycle_Kind_OTHER_KILLER_RESTORED, NULL,
			  "started again, and ready: %s", list);
}
