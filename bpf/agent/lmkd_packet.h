/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of lmkd's socket, as ActivityManager sends and expects them: 32-bit words, big-endian
 * (AOSP system/memory/lmkd/include/lmkd.h; ProcessList.java is the other side). Bytes in, struct
 * out, and back: no allocation, no I/O.
 */
#ifndef LMK_AGENT_LMKD_PACKET_H
#define LMK_AGENT_LMKD_PACKET_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define LMKD_PACKET_MAX	   64 /* bytes of a request: 16 words from Android 17 on, 13 before */
#define LMKD_TARGETS_MAX   6
#define LMKD_PROCESSES_MAX 3 /* of one LMKD_PROCS_PRIO */
#define LMKD_ADJ_MIN	   -1000
#define LMKD_ADJ_MAX	   1000

/* Requests, but the two that say otherwise. Vendors have used numbers from 12 to 40. */
enum lmkd_command {
	LMKD_TARGET = 0,
	LMKD_PROCPRIO = 1,
	LMKD_PROCREMOVE = 2,
	LMKD_PROCPURGE = 3,
	LMKD_GETKILLCNT = 4,
	LMKD_SUBSCRIBE = 5,
	LMKD_PROCKILL = 6, /* only sent by us */
	LMKD_UPDATE_PROPS = 7,
	LMKD_STAT_KILL_OCCURRED = 8, /* only sent by us */
	LMKD_START_MONITORING = 9,
	LMKD_BOOT_COMPLETED = 10,
	LMKD_PROCS_PRIO = 11,
	LMKD_COMMANDS = 12,
};

enum lmkd_process_type {
	LMKD_APP = 0,
	LMKD_SERVICE = 1,
};

enum lmkd_subscription {
	LMKD_SUBSCRIBE_KILL = 0, /* LMKD_PROCKILL */
	LMKD_SUBSCRIBE_STAT = 1, /* LMKD_STAT_KILL_OCCURRED */
};

/* Why a request was not carried out; counted, one counter each. */
enum lmkd_refusal {
	LMKD_TAKEN = 0, /* it was */
	/* What is wrong with the packet: lmkd_parse(). */
	LMKD_REFUSE_SHORT = 1,
	LMKD_REFUSE_LONG = 2,
	LMKD_REFUSE_UNALIGNED = 3,
	LMKD_REFUSE_COMMAND = 4,
	LMKD_REFUSE_DIRECTION = 5,
	LMKD_REFUSE_LENGTH = 6,
	LMKD_REFUSE_PID = 7,
	LMKD_REFUSE_ADJ = 8,
	LMKD_REFUSE_TYPE = 9,
	LMKD_REFUSE_FLAG = 10,
	LMKD_REFUSE_MINFREE = 11,
	LMKD_REFUSE_SUBSCRIPTION = 12,
	/* What is wrong with the sender, the process or the moment. */
	LMKD_REFUSE_SENDER = 13,
	LMKD_REFUSE_GONE = 14,
	LMKD_REFUSE_THREAD = 15,
	LMKD_REFUSE_KERNEL = 16,
	LMKD_REFUSE_OWNER = 17,
	LMKD_REFUSE_FULL = 18,
	LMKD_REFUSE_SOON = 19,
	LMKD_REFUSE_WRITE = 20,
	LMKD_REFUSALS = 21,
};

struct lmkd_target {
	__s32 minfree_pages;
	__s32 adj;
};

struct lmkd_process {
	__s32 pid;
	__u32 uid;
	__s32 adj;
	__u32 type;	  /* enum lmkd_process_type */
	bool for_us_only; /* Android 17's for_lmkd_only: /proc/PID/oom_score_adj is not written */
	enum lmkd_refusal refusal; /* what is wrong with this one of a PROCS_PRIO; else TAKEN */
};

struct lmkd_packet {
	__u32 command; /* enum lmkd_command */
	__u32 count;   /* of targets (TARGET), of processes (PROCPRIO, PROCS_PRIO) */
	union {
		struct lmkd_target targets[LMKD_TARGETS_MAX];
		struct lmkd_process processes[LMKD_PROCESSES_MAX];
		__s32 pid; /* PROCREMOVE */
		struct {
			__s32 min_adj, max_adj; /* GETKILLCNT: any, also an empty range */
		};
		__u32 subscription; /* SUBSCRIBE: enum lmkd_subscription */
	};
};

/*
 * One request of `length` bytes as it came from the socket. LMKD_TAKEN, or what is wrong with
 * it; nothing of a refused packet is to be carried out. An LMKD_PROCS_PRIO is refused for its
 * length alone: each process has a `refusal` of its own, and those without are to be carried out,
 * as by lmkd. Stricter than lmkd, which cuts what is too long and drops odd bytes at the end.
 */
enum lmkd_refusal lmkd_parse(const __u8 *bytes, size_t length, struct lmkd_packet *packet);

/* A refusal in half a sentence, for a log; and in a word, for a counter. */
const char *lmkd_refusal_text(enum lmkd_refusal refusal);
const char *lmkd_refusal_name(enum lmkd_refusal refusal);

#define LMKD_REPLY_BYTES  8
#define LMKD_KILLED_BYTES 16  /* LMKD_PROCKILL, the longer form */
#define LMKD_STAT_BYTES	  214 /* LMKD_STAT_KILL_OCCURRED with the longest name */
#define LMKD_NAME_MAX	  127 /* bytes of a name in it, without the NUL */
#define LMKD_NO_STAT	  -1  /* what is not known of struct lmkd_killed's 64-bit fields */
#define LMKD_NO_REASON	  -1

/* What is told of a kill. */
struct lmkd_killed {
	__s32 pid;
	__u32 uid;
	__s64 page_faults;
	__s64 major_page_faults;
	__s64 rss_bytes;
	__s64 cache_bytes;
	__s64 swap_bytes;
	__s64 start_time_ns;
	__s32 rss_kb;
	__s32 adj;
	__s32 min_adj; /* the floor of the decision */
	__s32 free_kb;
	__s32 free_swap_kb;
	__s32 reason; /* lmkd's own numbers (enum kill_reasons); LMKD_NO_REASON */
	__s32 thrashing_pct;
	__s32 max_thrashing_pct;
	const char *name;   /* cut to LMKD_NAME_MAX bytes */
	__u64 signalled_ns; /* not sent */
};

/* Reply to GETKILLCNT, UPDATE_PROPS and BOOT_COMPLETED: the command and a number. */
size_t lmkd_encode_reply(__u8 out[LMKD_REPLY_BYTES], enum lmkd_command command, __s32 value);

/*
 * LMKD_PROCKILL. ActivityManager takes exactly one length: 16 bytes with rss_kb, 12 without up
 * to the first release of Android 15.
 */
size_t lmkd_encode_killed(__u8 out[LMKD_KILLED_BYTES], const struct lmkd_killed *killed,
			  bool with_rss_kb);

/* LMKD_STAT_KILL_OCCURRED, whose 64-bit fields are big-endian and not aligned. */
size_t lmkd_encode_stat(__u8 out[LMKD_STAT_BYTES], const struct lmkd_killed *killed);

#endif
