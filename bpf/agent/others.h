/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills by others, on their way from the deciding thread, which takes them from the ring, to the
 * main thread, which spools them. The slots lie in shared memory, like those of our own kills.
 */
#ifndef LMK_AGENT_OTHERS_H
#define LMK_AGENT_OTHERS_H

#include <linux/types.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "lmk/abi.h"
#include "process.h"

#define OTHER_SLOTS 32

struct other {
	_Atomic __u32 taken; /* 0: the deciding thread's; else the main thread's */
	__u32 pad;
	struct lmk_other_event event;
	char victim_name[PROCESS_NAME];
	char sender_name[PROCESS_NAME];
};

struct shared;

/* False: no slot is free. The event is to be kept until the main thread has freed one. */
bool others_take(struct shared *shared, const struct lmk_other_event *event);

/*
 * The one that exited first of those not in the spool, or NULL. The kernel marks a victim of its
 * OOM killer only after the signal: whom the kernel killed is held back for OTHERS_HOLD_NS, for
 * the mark to come; `now_ns` of OTHERS_ALL holds nobody back.
 */
#define OTHERS_HOLD_NS (500ULL * 1000000)
#define OTHERS_ALL     (~0ULL)
struct other *others_first(struct shared *shared, __u64 now_ns);
/* When the first of those held back is due; 0: nobody is. */
__u64 others_due_ns(struct shared *shared);
/* It is in the spool: never twice, and its slot is free. */
void others_spooled(struct shared *shared, struct other *other);

#endif
