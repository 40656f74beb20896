// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"
#include "program.h"

/* An answer takes 0.1 s under emulation; stopping waits for the service's own end. */
#define ASK_NS	 (10 * NSEC_PER_SEC)
#define STOP_NS	 (10 * NSEC_PER_SEC)
#define START_NS (10 * NSEC_PER_SEC)
#define WORDS	 12

static const char *systemctl(void)
{
	return access("/usr/bin/systemctl", X_OK) ? "/bin/systemctl" : "/usr/bin/systemctl";
}

bool unit_systemd_runs(void)
{
	return !access("/run/systemd/system", F_OK) && !access(systemctl(), X_OK);
}

/* The cgroup as a directory: systemd keeps its tree in one of these. */
static void find_cgroup(const char *path, char cgroup[UNIT_CGROUP])
{
	static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified",
					    "/sys/fs/cgroup/systemd"};

	for (size_t i = 0; path[0] == '/' && i < sizeof(roots) / sizeof(*roots); i++) {
		int length = snprintf(cgroup, UNIT_CGROUP, "%s%s", roots[i], path);

		if (length < UNIT_CGROUP && !access(cgroup, F_OK))
			return;
	}
	cgroup[0] = 0;
}

static void take_property(struct unit *unit, const char *key, const char *value)
{
	if (!strcmp(key, "LoadState")) {
		unit->installed = strcmp(value, "not-found") != 0;
		unit->masked = !strcmp(value, "masked");
	} else if (!strcmp(key, "ActiveState")) {
		unit->active = strcmp(value, "inactive") && strcmp(value, "failed");
	} else if (!strcmp(key, "TriggeredBy")) {
		snprintf(unit->triggered_by, sizeof(unit->triggered_by), "%s", value);
	} else if (!strcmp(key, "ControlGroup")) {
		find_cgroup(value, unit->cgroup);
	}
}

int unit_show(const char *name, struct unit *unit)
{
	char *const words[] = {(char *)systemctl(),
			       "show",
			       "--property=LoadState,ActiveState,TriggeredBy,ControlGroup",
			       "--",
			       (char *)name,
			       NULL};
	char text[640], *line, *rest = text;
	int error = program_run(words, ASK_NS, false, text, sizeof(text));

	memset(unit, 0, sizeof(*unit));
	if (error)
		return error;
	snprintf(unit->name, sizeof(unit->name), "%s", name);
	while ((line = strsep(&rest, "\n"))) {
		char *value = strchr(line, '=');

		if (!value)
			continue;
		*value++ = 0;
		take_property(unit, line, value);
	}
	return 0;
}

bool unit_cgroup_runs(const char *cgroup)
{
	char path[UNIT_CGROUP + 16], first[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	return cgroup[0] && read_small_file(path, first, sizeof(first)) > 0;
}

/* One transaction over all of them. `why`: the first line that systemctl says. */
static int command(const char *verb, bool wait, char *const names[], __u64 patience_ns, char *why,
		   size_t size)
{
	char *words[WORDS] = {(char *)systemctl(), (char *)verb, "--quiet"}, text[256];
	size_t count = 3;
	int error;

	if (!wait)
		words[count++] = "--no-block";
	words[count++] = "--";
	for (; *names && count < WORDS - 1; names++)
		words[count++] = *names;
	error = program_run(words, patience_ns, true, text, sizeof(text));
	if (!error)
		return 0;
	text[strcspn(text, "\n")] = 0;
	snprintf(why, size, "systemctl %s %s: %s", verb, words[count - 1],
		 error == -EPERM && text[0] ? text : strerror(-error));
	return error;
}

int units_stop(char *const names[], bool *told_again, char *why, size_t size)
{
	int error = command("stop", true, names, STOP_NS, why, size);
	char again[160];

	*told_again = error && !command("start", false, names, ASK_NS, again, sizeof(again));
	if (error && !*told_again) {
		size_t length = strlen(why);

		snprintf(why + length, size - length, "; and not started again: %s", again);
	}
	return error;
}

int units_start(char *const names[], char *why, size_t size)
{
	return command("start", true, names, START_NS, why, size);
}
