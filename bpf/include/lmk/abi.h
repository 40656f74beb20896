/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What handlers (BPF), agent and loader tell each other: maps, events, calls. As in model.h:
 * fixed-width types only, no pointers, no padding that matters; CLOCK_BOOTTIME nanoseconds, KiB.
 */
#ifndef LMK_ABI_H
#define LMK_ABI_H

#include "lmk/model.h"

#define LMK_PIN_DIR	  "/sys/fs/bpf/lmk"
#define LMK_CANDIDATES	  5
#define LMK_PROTECTED_MAX 64
#define LMK_SHARERS_MAX	  8
#define LMK_CPUS_MAX	  256
#define LMK_NODES_MAX	  4
#define LMK_RULES_MAX	  512 /* entries of map `rules`, of two generations while one is swapped */
#define LMK_POLICY_SLOTS                                                                           \
	2 /* of map `policy`: one is in force, the next is written into the other */

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
	LMK_OUT_BUDGET = 12,   /* the policy's kills of this minute are used up */
	LMK_OUT_MAX = 13,
	/*
	 * Not ends, so not counted: what the caller of LMK_OP_RUN and others of the assisted path
	 * has to do before it goes on (bpf/assist). The claim is the caller's until then.
	 */
	LMK_OUT_WALK = 100,	/* read the iterator `lmk_walk`, then LMK_OP_WALKED */
	LMK_OUT_PROPOSED = 101, /* signal victim_pid and sharers, then LMK_OP_SIGNALLED */
};

/*
 * Place of a reason in lmk_counters.verdict: its number, then this project's own and the
 * vendor's. 0 is nobody's.
 */
enum lmk_verdict_slot {
	LMK_VERDICT_PARTIAL_STALL = 11,
	LMK_VERDICT_VENDOR = 12,
	LMK_VERDICT_MAX = 13,
};

struct lmk_counters {
	__u64 outcome[LMK_OUT_MAX];
	__u64 refusal[LMK_REFUSE_MAX];
	__u64 verdict[LMK_VERDICT_MAX]; /* kills, and would-be kills, by reason */
	__u64 ticks;			/* timer callbacks */
	__u64 tick_ns;			/* their run time, which BPF statistics miss */
	__u64 deferred;			/* work-queue and task-work callbacks */
	__u64 deferred_ns;
	__u64 decisions;      /* runs that sensed and decided */
	__u64 ring_lost;      /* events that did not fit in the ring buffer */
	__u64 carrier_failed; /* work could not be handed over */
	__u64 exits_seen;
	__u64 mm_exits_seen;
	__u64 other_kills; /* exits by a SIGKILL that was not ours */
};

/* Protected processes: key pid, value this. The start time keeps a recycled pid out. */
struct lmk_protected {
	__u64 start_ns; /* /proc/PID/stat field 22 has 10 ms grain: compare to that */
};

/*
 * Map `registered`, by pid: what ActivityManager said of a process over lmkd's socket, where that
 * is more than what the kernel knows. Map `registered_count`, array[1]: no less than there are
 * entries; 0 spares the handlers the look.
 */
#define LMK_REGISTERED_MAX 2048

enum lmk_registered_flags {
	LMK_REGISTERED_ADJ = 1 << 0, /* `adj` counts, whatever /proc/PID/oom_score_adj says */
	LMK_REGISTERED_SERVICE = 1 << 1,
};

struct lmk_registered {
	__u64 start_ns; /* identity of the pid, as in lmk_protected */
	__u64 since_ns; /* when it was told the adj that it has */
	__u32 uid;	/* that it counts as having */
	__s32 adj;
	__u32 flags; /* enum lmk_registered_flags */
	__u32 pad;
};

/*
 * Map `rules`: which rule of the policy is for an app, a process or a cgroup, as the agent found
 * out. The generation is the policy's: entries of the next are written before it is put in force.
 */
enum lmk_rule_kind {
	LMK_RULE_APP = 1,     /* id: uid modulo LMK_UIDS_PER_USER */
	LMK_RULE_PROCESS = 2, /* id: pid */
	LMK_RULE_CGROUP = 4,  /* id: inode of a directory of cgroup2; for those below it as well */
};

/* Names in a cgroup's path, from the root, that a rule may be for. */
#define LMK_CGROUP_LEVELS 16

struct lmk_rule_key {
	__u32 generation;
	__u32 kind;
	__u64 id;
};

struct lmk_rule_entry {
	/*
	 * LMK_RULE_PROCESS: identity of the pid, as in lmk_protected. LMK_RULE_CGROUP: which of the
	 * agent's looks at all cgroups found it last, counted; nothing to the handlers.
	 */
	__u64 start_ns;
	__u32 rule; /* place in the policy's list, from 1 */
	__u32 pad;
};

/* Ring `renamed`: a process that may have got the name that a rule is for. */
struct lmk_renamed_event {
	__s32 pid;
	__u32 pad;
};

/* Ring `cached`: a process that reached the policy's rest.pageout_min_score. */
struct lmk_cached_event {
	__s32 pid;
	__u32 pad;
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
	LMK_EVENT_OTHER = 6,	   /* struct lmk_other_event */
	LMK_EVENT_LOOK = 7,	   /* the head alone: reclaim began, assisted path: decide now */
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
	__u32 rules_generation; /* of the policy that lmk_process.rule is of */
	__u32 pad;
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

/* Same numbers as lmk.v1.OtherKill.Cause; LMKD is for the agent to find out. */
enum lmk_other_cause {
	LMK_OTHER_UNKNOWN = 0, /* the signal was not seen */
	LMK_OTHER_KERNEL_OOM = 1,
	LMK_OTHER_LMKD = 2,
	LMK_OTHER_PROCESS = 3,
	LMK_OTHER_KERNEL = 4,
	LMK_OTHER_OURS = 5, /* of no concern, never told: sent by us after all */
};

#define LMK_TOLD_AGAIN 2

/*
 * A process that ended by a SIGKILL that was not ours; head.time_ns is its exit, or, where the
 * kernel skipped the program that sees it, when it had been reaped.
 */
struct lmk_other_event {
	struct lmk_event_head head;
	__u64 signalled_ns; /* 0: not seen */
	__u32 cause;	    /* enum lmk_other_cause */
	__s32 sender_pid;   /* current when it was sent */
	__u32 sender_uid;
	__u32 told; /* atomic: its exit was told; LMK_TOLD_AGAIN: and this corrects the cause */
	__u64 sender_start_ns;
	char sender_comm[LMK_COMM];
	struct lmk_process victim; /* at the signal; where that was not seen, at the exit */
};

/* What the SYSCALL program `lmk_call` is asked to do. */
enum lmk_op {
	LMK_OP_RUN = 0,	      /* sense, decide, choose, kill */
	LMK_OP_STATUS = 1,    /* sample, verdict, next candidates; kills nobody */
	LMK_OP_MEASURE = 2,   /* what is left of a process's memory */
	LMK_OP_SELF_TEST = 3, /* the whole pick path and every carrier, with signal 0 */
	LMK_OP_INIT = 4,      /* once after loading: arms the timer */
	LMK_OP_STOP = 5,      /* before unpinning: no tick and no decision after this */
	LMK_OP_VENDOR = 6,    /* kill for `vendor_reason`, down to `vendor_floor` */
	/* Assisted path only: the other half of what an answer asked for. */
	LMK_OP_WALKED = 7,    /* the iterator was read to its end */
	LMK_OP_CONFIRM = 8,   /* a pidfd of `pid` is held: may it still be signalled? */
	LMK_OP_SIGNALLED = 9, /* the kill call said kill_result, at signalled_ns */
	/* Either path; bpf/assist/put_policy.h is who asks. */
	LMK_OP_POLICY = 10,	/* which policy_slot is in force, and whether they run */
	LMK_OP_SET_POLICY = 11, /* puts policy_slot in force; -EBUSY: a decision is under way */
};

/* Context of the SYSCALL program: what it is asked, what it answers. */
struct lmk_call {
	/* in */
	__u32 op;	     /* enum lmk_op */
	__u32 policy_slot;   /* LMK_OP_SET_POLICY; out with LMK_OP_POLICY */
	__u64 swap_total_kb; /* sysinfo(2), for kernels that hide nr_swap_pages */
	__u64 swap_free_kb;
	__s32 pid;	       /* LMK_OP_MEASURE, LMK_OP_SELF_TEST */
	__u32 with_candidates; /* LMK_OP_STATUS */
	__u64 start_ns;	       /* LMK_OP_MEASURE: identity of pid */
	__u32 compression_pct; /* zram: bytes in per byte that they take; 0: not known */
	__u32 vendor_reason;   /* LMK_OP_VENDOR: 0..999 */
	__s32 vendor_floor;
	__s32 budget_left; /* out: kills left in this minute, -1: no limit */
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
	/* Assisted path: out with LMK_OUT_WALK and LMK_OUT_PROPOSED, in with what follows. */
	__u64 token;	    /* the claim that the caller holds */
	__u64 signalled_ns; /* in, LMK_OP_SIGNALLED */
	__s32 kill_result;  /* in, LMK_OP_SIGNALLED: 0 or -errno */
	__u32 n_sharers;    /* out: processes that die with the victim */
	__s32 sharer_pid[LMK_SHARERS_MAX];
	/* /proc/pressure/memory, where the kernel does not let BPF see it: out it is wanted, in. */
	__u32 wants_psi;
	__u32 tells_psi;
	__u64 psi_some_total_us;
	__u64 psi_full_total_us;
	__u32 psi_full_avg10_pct100;
	__u32 running; /* out, LMK_OP_POLICY: between LMK_OP_INIT and LMK_OP_STOP */
	struct lmk_sample sample;
	struct lmk_verdict verdict;
	__u32 rule_processes[LMK_APP_RULES]; /* with candidates: how many each rule counts for */
	struct lmk_process candidates[LMK_CANDIDATES];
};

#endif
