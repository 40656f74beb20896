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

#include "clock.h"

/* For how long there was no killer, and nobody on lmkd's socket. */
struct lmkd_gaps {
	bool killer_known;
	bool socket_known;
	__u32 killer_ms;
	__u32 socket_ms;
	/* At the end, what the first is reckoned from: 0: not known, or not the end. */
	__u64 answered_ns;   /* when lmkd did */
	__u64 could_kill_ns; /* until when the handlers could */
};

static inline __u32 lmkd_gap_ms(__u64 from_ns, __u64 to_ns)
{
	return to_ns > from_ns ? (__u32)((to_ns - from_ns) / NSEC_PER_MSEC) : 0;
}

/* 0 or -errno. */
int lmkd_replaced_note(const char *dir);
/* Is there a note, of this boot? One of an earlier boot is removed. */
bool lmkd_replaced(const char *dir);
void lmkd_replaced_forget(const char *dir);

/* From fork to its first answer lmkd takes a tenth of a second where nothing is in its way. */
#define LMKD_ANSWER_NS (5 * NSEC_PER_SEC)
/* Once it has let that pass: for each further try, and from one to the next, ever longer. */
#define LMKD_TRY_NS	  NSEC_PER_SEC
#define LMKD_PAUSE_NS	  NSEC_PER_SEC
#define LMKD_PAUSE_MAX_NS (30 * NSEC_PER_SEC)

static inline __u64 lmkd_next_pause(__u64 pause_ns)
{
	return 2 * pause_ns < LMKD_PAUSE_MAX_NS ? 2 * pause_ns : LMKD_PAUSE_MAX_NS;
}

/*
 * Starts lmkd, waits until its socket answers, and removes the note. `answered_ns`: when it
 * did. 0, also when there is no note (then 0 is in `answered_ns`); or -errno, and the note stays:
 * then DIR/lmkd-silent says since when lmkd runs, or is being started, and says nothing.
 */
int lmkd_restore(const char *dir, __u64 patience_ns, __u64 *answered_ns);

/* Has lmkd been started in this boot, and does not answer yet? */
bool lmkd_silent(const char *dir);

#endif
