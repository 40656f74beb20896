/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills that nobody heard of over lmkd's socket, as nobody who had subscribed was there: while no
 * agent lived, or before ActivityManager has come back. They wait for who subscribes next. All zero
 * is an empty list; it lies in memory that one agent hands on to the next (shared.h).
 */
#ifndef LMK_AGENT_LMKD_MISSED_H
#define LMK_AGENT_LMKD_MISSED_H

#include <linux/types.h>
#include <stdbool.h>

#include "clock.h"
#include "lmkd_packet.h"

#define LMKD_MISSED	   64
#define LMKD_WAITS_FOR_ALL (1U << LMKD_SUBSCRIBE_KILL | 1U << LMKD_SUBSCRIBE_STAT)
/*
 * ActivityManager looks for the exit that a kill explains among those of the last five minutes
 * (AppExitInfoTracker, APP_EXIT_INFO_FRESHNESS_MS). Later the pid may be somebody else's.
 */
#define LMKD_MISSED_NS (300 * NSEC_PER_SEC)

struct lmkd_missed_kill {
	__u32 waits; /* bits: 1 << enum lmkd_subscription; 0: free */
	__u32 pad;
	__u64 order;
	struct lmkd_killed killed; /* its name is below */
	char name[LMKD_NAME_MAX + 1];
};

struct lmkd_missed {
	struct lmkd_missed_kill kills[LMKD_MISSED];
	__u64 next_order;
	__u64 dropped; /* LMKD_PROCKILL: no room, or too old when somebody came */
};

/* Keeps one for those subscriptions; without room the oldest goes. */
void lmkd_missed_add(struct lmkd_missed *missed, const struct lmkd_killed *killed, __u32 waits);

/*
 * The oldest that waits for that subscription and can still be of use; it waits no more, so that
 * nobody hears of it twice, whatever becomes of the caller. NULL: none is left.
 */
const struct lmkd_killed *lmkd_missed_take(struct lmkd_missed *missed, enum lmkd_subscription which,
					   __u64 now_ns);

#endif
