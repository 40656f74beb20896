/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which units were stopped for a session, and how they come back. DIR/units-stopped is written
 * before they are stopped and removed once they run again, so whoever is left (agent, guardian,
 * `stop` after both died) knows what has to be started. It holds the boot id: after a reboot
 * systemd has started by itself what is enabled.
 */
#ifndef LMK_AGENT_STOPPED_UNITS_H
#define LMK_AGENT_STOPPED_UNITS_H

#include <stdbool.h>
#include <stddef.h>

#include "unit.h"

/* Four killers that are known, each with a socket. */
#define STOPPED_UNITS 8

struct stopped_units {
	unsigned int count;
	/* In the order in which they are to be started. */
	struct {
		char name[UNIT_NAME];
		char cgroup[UNIT_CGROUP]; /* where it ran; empty: it has none */
	} units[STOPPED_UNITS];
};

/* 0 or -errno. */
int stopped_units_note(const char *dir, const struct stopped_units *stopped);
/* What is noted, of this boot. False: nothing. A note of an earlier boot is removed. */
bool stopped_units_read(const char *dir, struct stopped_units *stopped);
bool stopped_units_noted(const char *dir);
void stopped_units_forget(const char *dir);

/* Their names as words(NULL last), and as text: "a.service, b.service". */
void stopped_units_names(struct stopped_units *stopped, char *names[STOPPED_UNITS + 1]);
void stopped_units_list(const struct stopped_units *stopped, char *text, size_t size);

/*
 * Starts them, waits until they are ready, and removes the note. 1; 0 when there is no note; or
 * -errno with the reason in the log, and the note stays. `text`: which those are.
 */
int stopped_units_restore(const char *dir, char *text, size_t size);

#endif
