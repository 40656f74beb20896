/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Units of systemd: looked at, stopped and started by systemctl, which needs no D-Bus daemon as
 * root. Never by a signal of ours: systemd starts a service again that ends by itself.
 */
#ifndef LMK_AGENT_UNIT_H
#define LMK_AGENT_UNIT_H

#include <stdbool.h>
#include <stddef.h>

#define UNIT_NAME   64
#define UNIT_CGROUP 192

struct unit {
	char name[UNIT_NAME];
	bool installed;
	bool masked;
	bool active;		  /* it runs, or is being started or stopped; a socket: listens */
	char triggered_by[160];	  /* units that start it when they are asked for it */
	char cgroup[UNIT_CGROUP]; /* absolute, while it runs; else empty */
};

/* Is systemd the init here, with a systemctl to ask it by? Probed: sd_booted(3). */
bool unit_systemd_runs(void);

/* 0 or -errno; one that is not installed is no error. */
int unit_show(const char *name, struct unit *unit);

/* A process is in that cgroup. Asks nobody, so it may be looked at often. */
bool unit_cgroup_runs(const char *cgroup);

/*
 * Stops them together, and waits until they have. 0; or -errno with the reason in `why`.
 * `told_again`: then systemd was told to start them again, so that they run on, or come back once
 * they have ended.
 */
int units_stop(char *const names[], bool *told_again, char *why, size_t size);

/* Starts them, and waits until they say that they are ready. 0; or -errno with why. */
int units_start(char *const names[], char *why, size_t size);

#endif
