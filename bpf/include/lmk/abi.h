/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the handlers (BPF), the agent, the loader and the host build of the decision core
 * share: fixed-width types only, no pointers, no padding that matters. Include the
 * platform's __u32 & co. first (kernel_types.h in BPF, <linux/types.h> elsewhere).
 *
 * Times are CLOCK_BOOTTIME nanoseconds, sizes KiB.
 */
#ifndef LMK_ABI_H
#define LMK_ABI_H

#include "lmk/policy_view.h"

#define LMK_PIN_DIR	  "/sys/fs/bpf/lmk"
#define LMK_CANDIDATES	  5
#define LMK_COMM	  16
#define LMK_PROTECTED_MAX 64
#define LMK_ADJ_NEVER	  (-1000)
#define LMK_SHARERS_MAX	  8
#define LMK_CPUS_MAX	  256
#define LMK_NODES_MAX	  4

enum lmk_kill_path {
	LMK_PATH_NONE = 0,
	LMK_PATH_ASSISTED = 1,
	LMK_PATH_IN_KERNEL = 2,
	LMK_PATH_OOM_OPS = 3,
};

enum lmk_carrier {
	LMK_CARRIER_UNSPECIFIED = 0,
	LMK_CARRIER_SYSCALL = 1,
	LMK_CARRIER_RECLAIM = 2,
	LMK_CARRIER_WORKQUEUE = 3,
	LMK_CARRIER_TASK_WORK = 4,
	LMK_CARRIER_TIMER = 5,
};

/* Same numbers as lmk.v1.Reason. */
enum lmk_reason {
	LMK_REASON_NONE = 0,
	LMK_REASON_NOT_RESPONDING = 2,
	LMK_REASON_LOW_MEM_AND_SWAP = 4,
	LMK_REASON_LOW_MEM = 9,
	LMK_REASON_PARTIAL_STALL = 100,
};

/* Bits of lmk_sample.known: which optional members hold a measured value. */
enum lmk_known {
	LMK_KNOWN_AVAILABLE = 1 << 0,
	LMK_KNOWN_SWAP = 1 << 1,
	LMK_KNOWN_PSI = 1 << 2,
	LMK_KNOWN_REFAULTS = 1 << 3,
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
	__u64 psi_some_window_us; /* within policy some_stall window */
	__u64 psi_full_window_us; /* within policy full_stall window */
	__u64 refault_file;
	__u64 refault_anon;
	__u32 direct_reclaimers;
	__u8 kswapd_awake;
	__u8 pad[3];
	__u32 known;
	__u32 pad2;
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
	__s32 pid; /* tgid */
	__s32 tid; /* the live thread that was or would be signalled */
	__u32 uid;
	__s32 adj;
	__u32 threads;
	__u32 flags; /* enum lmk_process_flags */
	char comm[LMK_COMM];
};

enum lmk_process_flags {
	LMK_PROC_INIT = 1 << 0,
	LMK_PROC_KTHREAD = 1 << 1,
	LMK_PROC_PROTECTED = 1 << 2, /* in the protected map: agent, guardian, adbd, lmkd */
	LMK_PROC_DYING = 1 << 3,     /* SIGKILL pending, group exit or exiting */
	LMK_PROC_NO_MM = 1 << 4,     /* no thread with an mm is left */
	LMK_PROC_SHARED_MM = 1 << 5, /* another process uses the same mm */
};

struct lmk_verdict {
	__u32 reason;	/* enum lmk_reason */
	__s32 floor;	/* oom_score_adj */
	__u32 breached; /* enum lmk_signal bits */
	__u32 pad;
	__u64 free_limit_kb;
	__u64 available_limit_kb;
	__u64 swap_limit_kb;
	__u64 some_limit_us;
	__u64 full_limit_us;
};

enum lmk_signal {
	LMK_SIGNAL_FREE = 1 << 0,
	LMK_SIGNAL_AVAILABLE = 1 << 1,
	LMK_SIGNAL_SWAP = 1 << 2,
	LMK_SIGNAL_SOME = 1 << 3,
	LMK_SIGNAL_FULL = 1 << 4,
};

/*
 * Every way a decision run can end. Counted, one counter each, in lmk_counters.outcome.
 */
enum lmk_outcome {
	LMK_OUT_CALM = 0,      /* no reason to kill */
	LMK_OUT_KILLED = 1,    /* signal queued */
	LMK_OUT_DRY_RUN = 2,   /* would have killed */
	LMK_OUT_CLAIMED = 3,   /* another CPU was deciding */
	LMK_OUT_PENDING = 4,   /* a victim is exiting or giving memory back */
	LMK_OUT_NO_VICTIM = 5, /* nobody at or above the floor */
	LMK_OUT_BUSY = 6,      /* kill call said -EBUSY: try again, no victim was hit */
	LMK_OUT_REFUSED = 7,   /* kill call refused: -EPERM, -ESRCH, exiting target */
	LMK_OUT_RETRIED = 8,   /* same victim signalled again after retry_ms */
	LMK_OUT_STALE = 9,     /* the chosen pid was recycled or gone before the kill */
	LMK_OUT_TIMEOUT = 10,  /* gave up waiting for a victim after kill_timeout_ms */
	LMK_OUT_ERROR = 11,    /* sensing failed */
	LMK_OUT_MAX = 12,
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
	LMK_REFUSE_MAX = 10,
};

struct lmk_counters {
	__u64 outcome[LMK_OUT_MAX];
	__u64 refusal[LMK_REFUSE_MAX];
	__u64 ticks;	/* timer callbacks */
	__u64 tick_ns;	/* their run time, which BPF statistics miss */
	__u64 deferred; /* work-queue and task-work callbacks */
	__u64 deferred_ns;
	__u64 decisions;      /* runs that sensed and decided */
	__u64 ring_lost;      /* events that did not fit in the ring buffer */
	__u64 carrier_failed; /* work could not be handed over */
	__u64 exits_seen;
	__u64 mm_exits_seen;
};

/* Protected processes: key pid, value this. The start time keeps a recycled pid out. */
struct lmk_protected {
	__u64 start_ns; /* /proc/PID/stat field 22 has 10 ms grain: compare to that */
};

/* Map `agent`, array[1]: the agent's deciding thread, which task work may borrow. */
struct lmk_agent_thread {
	__s32 tid; /* 0: none */
	__u32 pad;
};

/* Contexts that a timer can hand a decision to; index of lmk_carriers.test. */
enum lmk_deferral {
	LMK_DEFER_WORKQUEUE = 0, /* kworker */
	LMK_DEFER_AGENT = 1,	 /* task work on the agent's deciding thread */
	LMK_DEFER_INIT = 2,	 /* task work on pid 1 */
	LMK_DEFER_MAX = 3,
};

struct lmk_carrier_test {
	__u64 asked_ns;	       /* when the self-test handed it over; 0: never */
	__u64 ran_ns;	       /* when it ran; 0: it has not */
	__s32 schedule_result; /* 0 or -errno of the hand-over */
	__s32 result;	       /* 0 or -errno of the kill call with signal 0 */
};

/* Map `carriers`, array[1]: what the self-test found. A carrier works: ran, result 0. */
struct lmk_carriers {
	struct lmk_carrier_test test[LMK_DEFER_MAX];
};

enum lmk_event_type {
	LMK_EVENT_KILL = 1,	   /* struct lmk_kill_event */
	LMK_EVENT_EXITED = 2,	   /* struct lmk_end_event */
	LMK_EVENT_MEMORY_BACK = 3, /* struct lmk_end_event */
	LMK_EVENT_PRESSURE = 4,	   /* struct lmk_pressure_event: begins or ends */
	LMK_EVENT_RETRY = 5,	   /* struct lmk_end_event: signalled again */
};

struct lmk_event_head {
	__u32 type; /* enum lmk_event_type */
	__u32 size; /* of the whole event */
	__u64 time_ns;
};

struct lmk_kill_event {
	struct lmk_event_head head;
	__u64 kill_id;
	__u64 seen_ns;
	__u64 gated_ns;
	__u64 decided_ns;
	__u64 signalled_ns; /* 0 in dry run */
	__u32 path;
	__u32 carrier;
	__u32 dry_run;
	__u32 processes_seen;
	__u32 processes_eligible;
	__u32 sharers; /* processes that share the victim's mm, signalled with it */
	__s32 kill_result;
	__u32 n_candidates;
	struct lmk_verdict verdict;
	struct lmk_sample sample;
	struct lmk_process victim;
	struct lmk_process candidates[LMK_CANDIDATES];
};

struct lmk_end_event {
	struct lmk_event_head head;
	__u64 kill_id;
	__s32 pid;
	__u32 attempts;
	__u64 left_kb; /* of the victim's memory, at memory back */
	struct lmk_sample sample;
};

struct lmk_pressure_event {
	struct lmk_event_head head;
	__u32 under_pressure;
	__u32 pad;
};

/* What the SYSCALL program `lmk_call` is asked to do. */
enum lmk_op {
	LMK_OP_RUN = 0,	      /* sense, decide, choose, kill */
	LMK_OP_STATUS = 1,    /* sample, verdict, next candidates; kills nobody */
	LMK_OP_MEASURE = 2,   /* what is left of a process's memory */
	LMK_OP_SELF_TEST = 3, /* the whole pick path and every carrier, with signal 0 */
	LMK_OP_INIT = 4,      /* once after loading: arms the timer */
	LMK_OP_STOP = 5,      /* before unpinning: no tick and no decision after this */
};

/* Context of the SYSCALL program: what it is asked, what it answers. */
struct lmk_call {
	/* in */
	__u32 op; /* enum lmk_op */
	__u32 pad;
	__u64 swap_total_kb; /* sysinfo(2), for kernels that hide nr_swap_pages */
	__u64 swap_free_kb;
	__s32 pid;	       /* LMK_OP_MEASURE, LMK_OP_SELF_TEST */
	__u32 with_candidates; /* LMK_OP_STATUS */
	__u64 start_ns;	       /* LMK_OP_MEASURE: identity of pid */
	/* out */
	__s32 result;  /* 0 or -errno; LMK_OP_SELF_TEST: of the kill call with signal 0 */
	__u32 outcome; /* enum lmk_outcome */
	__u32 under_pressure;
	__u32 interval_ms; /* when to run the decision again */
	__u64 kill_id;
	__u64 left_kb; /* LMK_OP_MEASURE: anon + file + swap + page tables */
	__s32 victim_pid;
	__u32 n_candidates;
	__u64 victim_start_ns;
	__s32 pending_pid;
	__u32 released; /* in, LMK_OP_MEASURE: process_mrelease(2) of pid returned 0 */
	struct lmk_sample sample;
	struct lmk_verdict verdict;
	struct lmk_process candidates[LMK_CANDIDATES];
};

#endif
