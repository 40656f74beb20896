/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kill that is being followed to its end. The slots lie in memory that agent and guardian
 * share (shared.h), so a new agent completes what a dead one had begun; they are also the
 * queue from the deciding thread to the main thread, which spools them.
 */
#ifndef LMK_AGENT_KILL_H
#define LMK_AGENT_KILL_H

#include <linux/types.h>
#include <stdatomic.h>

#include "lmk/abi.h"
#include "process.h"

#define KILL_SLOTS 32

enum kill_state {
	KILL_FREE = 0,	   /* owned by the deciding thread */
	KILL_FOLLOWED = 1, /* owned by the deciding thread */
	KILL_DONE = 2,	   /* owned by the main thread: spool it, then free it */
};

/* Same numbers as lmk.v1.KillReport.MemoryBack. */
enum memory_back {
	MEMORY_BACK_NOT_SEEN = 0,
	MEMORY_BACK_EXIT_MMAP = 1,
	MEMORY_BACK_MRELEASE = 2,
};

struct kill {
	_Atomic __u32 state;
	__u32 memory_back; /* enum memory_back */
	__u32 attempts;
	__s32 mrelease_result;
	__u64 mrelease_begin_ns; /* 0: not called */
	__u64 mrelease_end_ns;
	__u64 exited_ns;      /* 0: not seen */
	__u64 memory_back_ns; /* 0: not seen */
	__u64 left_kb;	      /* where left_known */
	__u64 exit_heard_ns;  /* the pidfd told us; later than exited_ns */
	__u64 deadline_ns;
	__u8 left_known;
	__u8 after_known;
	__u8 agent_absent;
	__u8 mm_gone;	    /* exit_mmap's event came */
	_Atomic __u8 named; /* the deciding thread has looked for the names: it may be told */
	__u8 told;	    /* the main thread has told of it over lmkd's socket */
	__u8 pad[2];
	struct lmk_sample after;
	struct lmk_kill_event event;
	char victim_name[PROCESS_NAME];
	char candidate_names[LMK_CANDIDATES][PROCESS_NAME];
};

#endif
