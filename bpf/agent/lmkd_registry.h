/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that were registered over lmkd's socket: by whom, at which oom_score_adj. A table of
 * fixed size with a hash by pid; no allocation, no I/O. All zero is an empty one.
 *
 * A record belongs to the process (pid) that registered it, and nobody else can change or remove
 * it until that one's connection closes; then it is ownerless, and whoever names it next owns it.
 */
#ifndef LMK_AGENT_LMKD_REGISTRY_H
#define LMK_AGENT_LMKD_REGISTRY_H

#include <linux/types.h>
#include <stdbool.h>

#include "lmkd_packet.h"

/* Android's own limit of processes is far below; pid_max of its kernels is 32768. */
#ifndef LMKD_RECORDS
#define LMKD_RECORDS 8192
#endif
#ifndef LMKD_BUCKETS
#define LMKD_BUCKETS 4096
#endif
#define LMKD_NOBODY 0 /* owner of an ownerless record */
/* Records looked at for one that is stale before an insertion into a full table gives up. */
#define LMKD_RECLAIM_STEPS 64

struct lmkd_record {
	__s32 pid; /* 0: free */
	__u32 uid;
	__s32 owner; /* pid of who registered it, or LMKD_NOBODY */
	__s16 adj;
	__u16 next;	   /* in its bucket or in the free list; places from 1, 0: the end */
	__u64 start_ticks; /* tells it from a later process of the same pid */
	__u32 type;	   /* enum lmkd_process_type */
	bool for_us_only;  /* its adj is not written to /proc */
	/* For who feeds the handlers (lmkd_feed.h); none is set in a new record. */
	bool known;   /* what was said of it, but for its adj, has been looked at */
	bool named;   /* so has its name */
	bool feeding; /* there is an entry for its pid, perhaps of an earlier process */
};

struct lmkd_registry {
	/* A record that was `feeding` is about to go. NULL: nobody feeds. */
	void (*forget)(struct lmkd_record *record);
	struct lmkd_record records[LMKD_RECORDS];
	__u16 buckets[LMKD_BUCKETS];
	__u16 free;  /* records that were used and are free again */
	__u16 used;  /* records that were ever used: those behind are all zero */
	__u16 count; /* live records */
	__u16 reclaim_at;
	/* Kills by oom_score_adj from LMKD_ADJ_MIN. lmkd itself counts only the first 32 values. */
	__u32 kills[LMKD_ADJ_MAX - LMKD_ADJ_MIN + 1];
	__u32 kills_total;
};

/* Is the process of that record still there? */
typedef bool (*lmkd_is_alive)(const struct lmkd_record *record, void *context);

/* The record of a pid, NULL: none. It may be of a process that is gone: see start_ticks. */
struct lmkd_record *lmkd_find(struct lmkd_registry *registry, __s32 pid);

/* May `owner` register, change or remove that pid, which started at `start_ticks`? */
bool lmkd_may_put(struct lmkd_registry *registry, __s32 owner, __s32 pid, __u64 start_ticks);

/*
 * Inserts or replaces. A record of an earlier process of that pid has no say any more. Where
 * the table is full, records are asked for with `alive`, and one whose process is gone makes
 * room. LMKD_TAKEN, LMKD_REFUSE_OWNER or LMKD_REFUSE_FULL: then nothing has changed.
 */
enum lmkd_refusal lmkd_put(struct lmkd_registry *registry, __s32 owner,
			   const struct lmkd_process *process, __u64 start_ticks,
			   lmkd_is_alive alive, void *context);

/* LMKD_TAKEN (also where there is no such record, as in lmkd), or LMKD_REFUSE_OWNER. */
enum lmkd_refusal lmkd_remove(struct lmkd_registry *registry, __s32 owner, __s32 pid);

/* Removes all records of `owner` and all ownerless ones. */
void lmkd_purge(struct lmkd_registry *registry, __s32 owner);

/* Removes the records that feed and are not `there` any more; returns how many. */
__u32 lmkd_drop_fed(struct lmkd_registry *registry,
		    bool (*there)(const struct lmkd_record *record));

/* The connection of `owner` is closed: its records become ownerless. */
void lmkd_release(struct lmkd_registry *registry, __s32 owner);

/*
 * A process was killed: it is counted, and its record, whoever has it, is removed; not that of a
 * later process that has got its pid.
 */
void lmkd_note_kill(struct lmkd_registry *registry, __s32 pid, __u64 start_ticks, __s32 adj);

/* Kills at min_adj..max_adj, as GETKILLCNT asks; all there were where min_adj is above 1000. */
__s32 lmkd_kill_count(const struct lmkd_registry *registry, __s32 min_adj, __s32 max_adj);

#endif
