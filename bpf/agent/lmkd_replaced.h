/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That lmkd was stopped, and how it comes back. DIR/lmkd-stopped is written before it is
 * stopped and removed once it answers again, so whoever is left (agent, guardian, `stop` after both
 * died) knows that it has to be started. It holds the boot id: a reboot starts lmkd by itself.
 */
#ifndef LMK_AGENT_LMKD_REPLACED_H
#define LMK_AGENT_LMKD_REPLACED_H

#include <linux/types.h>
#include <stdbool.h>

/* For how long there was no killer, and nobody on lmkd's socket. */
struct lmkd_gaps {
	bool known;
	__u32 killer_ms;
	__u32 socket_ms;
};

/* 0 or -errno. */
int lmkd_replaced_note(const char *dir);
/* Is there a note, of this boot? One of an earlier boot is removed. */
bool lmkd_replaced(const char *dir);
void lmkd_replaced_forget(const char *dir);

/*
 * Starts lmkd, waits until its socket answers, and removes the note. `answered_ns`: when it
 * did. 0, also when there is no note (then 0 is in `answered_ns`); or -errno, and the note stays.
 */
int lmkd_restore(const char *dir, __u64 *answered_ns);

#endif
