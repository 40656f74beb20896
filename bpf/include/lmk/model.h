/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the decision core takes, remembers and gives: the device at one moment, one process, a
 * verdict. Shared by handlers (BPF), agent, loader and the host build of the core: fixed-width
 * types only, no pointers, no padding that matters. Include the platform's __u32 & co. first
 * (kernel_types.h in BPF, <linux/types.h> elsewhere).
 *
 * Times are CLOCK_BOOTTIME nanoseconds, sizes KiB.
 */
#ifndef LMK_MODEL_H
#define LMK_MODEL_H

#include "lmk/policy_view.h"

#define LMK_COMM      16
#define LMK_ADJ_NEVER (-1000)

/* Same numbers as lmk.v1.Reason; from LMK_REASON_VENDOR on, the vendor's own. */
enum lmk_reason {
	LMK_REASON_NONE = 0,
	LMK_REASON_PRESSURE_AFTER_KILL = 1,
	LMK_REASON_NOT_RESPONDING = 2,
	LMK_REASON_LOW_SWAP_AND_THRASHING = 3,
	LMK_REASON_LOW_MEM_AND_SWAP = 4,
	LMK_REASON_LOW_MEM_AND_THRASHING = 5,
	LMK_REASON_DIRECT_RECL_AND_THRASHING = 6,
	LMK_REASON_LOW_MEM_AND_SWAP_UTIL = 7,
	LMK_REASON_LOW_FILECACHE_AFTER_THRASHING = 8,
	LMK_REASON_LOW_MEM = 9,
	LMK_REASON_DIRECT_RECL_STUCK = 10,
	LMK_REASON_PARTIAL_STALL = 100,
	LMK_REASON_VENDOR = 1000,
};

/* Bits of lmk_sample.known: which optional members hold a measured value. */
enum lmk_known {
	LMK_KNOWN_AVAILABLE = 1 << 0,
	LMK_KNOWN_SWAP = 1 << 1,
	LMK_KNOWN_PSI = 1 << 2,
	LMK_KNOWN_REFAULTS = 1 << 3,
	LMK_KNOWN_RECLAIM = 1 << 4,	/* who is in direct reclaim, and since when */
	LMK_KNOWN_COMPRESSION = 1 << 5, /* what zram reaches */
};

/* The state of the whole device at one moment. */
struct lmk_sample {
	__u64 time_ns;
	__u64 total_kb;
	__u64 free_kb;
	__u64 available_kb;
	__u64 wmark_min_kb; /* sums over populated zones, boost included */
	__u64 wmark_low_kb;
	__u64 wmark_high_kb;
	__u64 swap_total_kb;
	__u64 swap_free_kb;
	__u64 file_kb;
	__u64 anon_kb;
	__u64 shmem_kb;
	__u64 slab_reclaimable_kb;
	__u64 psi_some_total_us; /* since load */
	__u64 psi_full_total_us;
	__u64 psi_some_window_us;  /* within policy some_stall window */
	__u64 psi_full_window_us;  /* within policy full_stall window */
	__u64 psi_some_counted_us; /* since load, as the windows count it: by the time of a look */
	__u64 psi_full_counted_us;
	__u64 refault_file; /* pages, since boot */
	__u64 refault_anon;
	__u64 cma_free_kb; /* part of free_kb that most allocations may not use */
	__u64 inactive_file_kb;
	__u64 anon_lru_kb; /* on the LRU lists, shmem included */
	__u64 dirty_kb;
	__u64 protection_kb; /* sum over zones of the largest lowmem_reserve */
	__u64 pgscan_kswapd; /* pages, since boot */
	__u64 pgscan_direct;
	__u64 pgrefill;
	__u64 reclaim_foreground_us; /* time in direct reclaim within the policy's window */
	__u64 reclaim_background_us;
	__u64 reclaim_longest_us; /* of those in direct reclaim now, who has been for longest */
	__u32 zones_below;	  /* enum lmk_level: no zone is above this mark of its own */
	__u32 full_avg10_pct100;  /* `full` avg10 as /proc has it, in 1/100 percent */
	__u32 page_kb;
	__u32 compression_pct; /* bytes that go into zram per byte that it takes, percent */
	__u32 direct_reclaimers;
	__u8 kswapd_awake;
	__u8 pad[3];
	__u32 known;
	__u32 pad2;
};

/* How low free memory is; lmkd's enum zone_watermark from the other end. */
enum lmk_level {
	LMK_LEVEL_NONE = 0, /* above the high watermark */
	LMK_LEVEL_HIGH = 1, /* below high */
	LMK_LEVEL_LOW = 2,  /* below low */
	LMK_LEVEL_MIN = 3,  /* below min */
};

/*
 * What the decision remembers from one evaluation to the next, beside the kill under way.
 * All zero is a fresh start.
 */
struct lmk_history {
	__u64 thrashing_since_ns; /* begin of the second that is being counted */
	__u64 refault_base;	  /* pages, then */
	__u64 lru_base_kb;	  /* that they are held against, then */
	__u64 refault_last;	  /* pages, at the last evaluation */
	__u64 pgscan_kswapd_last;
	__u64 pgscan_direct_last;
	__u64 pgrefill_last;
	__u64 partial_event_ns; /* last time `some` stall woke the decision */
	__u64 complete_event_ns;
	__u64 poll_until_ns;
	__u64 poll_next_ns;
	__u64 budget_ns;    /* credit for kills, in time */
	__u64 budget_at_ns; /* when it was reckoned */
	__u64 some_base_us; /* counted stall, when the last kill's memory was back */
	__u64 full_base_us;
	__u64 loss_since_ns; /* begin of the time in which it is counted what free memory loses */
	__u64 loss_base_kb;  /* free memory, then */
	__u64 loss_kb_per_s;
	__u32 thrashing_before; /* growth of the second before, percent */
	__u32 thrashing_pct;
	__u32 thrashing_max_pct;   /* since the last kill */
	__u32 thrashing_limit_pct; /* decayed */
	__u32 primed;
	__u32 killed;		/* since the last evaluation */
	__u32 cycle_after_kill; /* this evaluation is the first after a kill */
	__u32 check_filecache;
	__u32 last_level;    /* enum lmk_look of the last event */
	__u32 reclaiming;    /* enum lmk_reclaiming, of this evaluation */
	__u32 refaulted;     /* since the last evaluation */
	__u32 stall_rebased; /* since the last kill */
};

/* One process, as the victim order sees it. */
struct lmk_process {
	__u64 start_ns; /* task->start_boottime of the leader */
	__u64 mm;	/* kernel address, an identity only */
	__u64 anon_kb;
	__u64 file_kb;
	__u64 shmem_kb;
	__u64 swap_kb;
	__u64 pgtables_kb;
	__u64 min_flt;
	__u64 maj_flt;
	__u64 adj_since_ns; /* when it got its oom_score_adj, where that was seen; else its start */
	__s32 pid;	    /* tgid */
	__s32 tid;	    /* the live thread that was or would be signalled */
	__u32 uid;
	__s32 adj;
	__u32 threads;
	__u32 flags; /* enum lmk_process_flags */
	__u32 rule;  /* of the policy, that applies to it: 1 is the first, 0: none */
	__u32 pad;
	char comm[LMK_COMM];
};

enum lmk_process_flags {
	LMK_PROC_INIT = 1 << 0,
	LMK_PROC_KTHREAD = 1 << 1,
	LMK_PROC_PROTECTED = 1 << 2, /* in the protected map: agent, guardian, adbd, lmkd */
	LMK_PROC_DYING = 1 << 3,     /* SIGKILL pending, group exit or exiting */
	LMK_PROC_NO_MM = 1 << 4,     /* no thread with an mm is left */
	LMK_PROC_SHARED_MM = 1 << 5, /* another process uses the same mm */
	/* Of what ActivityManager said of it over lmkd's socket (abi.h, struct lmk_registered): */
	LMK_PROC_SERVICE = 1 << 6,  /* a service, not an app */
	LMK_PROC_TOLD_ADJ = 1 << 7, /* `adj` is what was said, and /proc may have another one */
};

struct lmk_verdict {
	__u32 reason;	     /* enum lmk_reason */
	__s32 floor;	     /* oom_score_adj */
	__u32 breached;	     /* enum lmk_signal bits */
	__u32 level;	     /* enum lmk_level of free memory */
	__u64 free_kb;	     /* that free_limit_kb is for: without CMA where that is not usable */
	__u64 free_limit_kb; /* watermark, and loss_ahead_kb where there is any */
	__u64 loss_ahead_kb; /* that free memory will lose within the policy's horizon */
	__u64 available_limit_kb;
	__u64 swap_free_kb; /* as far as it can be used */
	__u64 swap_limit_kb;
	__u64 some_us; /* that counts (policy/stall.h) */
	__u64 full_us;
	__u64 some_limit_us;
	__u64 full_limit_us;
	__u64 reclaim_limit_us;
	__u64 filecache_limit_kb;
	__u32 thrashing_pct;
	__u32 thrashing_limit_pct;
	__u32 thrashing_max_pct;
	__u32 swap_util_pct;
	__u32 swap_util_limit_pct;
	__u32 idle; /* the reasons were not gone through */
};

enum lmk_signal {
	LMK_SIGNAL_FREE = 1 << 0,
	LMK_SIGNAL_AVAILABLE = 1 << 1,
	LMK_SIGNAL_SWAP = 1 << 2,
	LMK_SIGNAL_SOME = 1 << 3,
	LMK_SIGNAL_FULL = 1 << 4,
	LMK_SIGNAL_THRASHING = 1 << 5,
	LMK_SIGNAL_SWAP_UTIL = 1 << 6,
	LMK_SIGNAL_RECLAIM = 1 << 7,
	LMK_SIGNAL_FILECACHE = 1 << 8,
	LMK_SIGNAL_CRITICAL_STALL = 1 << 9,
};

/* Why a process at or above the floor was passed over, one counter each. */
enum lmk_refusal {
	LMK_REFUSE_NONE = 0,
	LMK_REFUSE_INIT = 1,
	LMK_REFUSE_KTHREAD = 2,
	LMK_REFUSE_ADJ_NEVER = 3,
	LMK_REFUSE_PROTECTED = 4,
	LMK_REFUSE_UID = 5,
	LMK_REFUSE_DYING = 6,
	LMK_REFUSE_NO_MM = 7,
	LMK_REFUSE_BELOW_FLOOR = 8,
	LMK_REFUSE_SHARER = 9, /* a process that shares its mm may not die */
	LMK_REFUSE_RULE = 10,  /* a rule of the policy protects it */
	LMK_REFUSE_MAX = 11,
};

#endif
