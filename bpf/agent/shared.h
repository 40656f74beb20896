/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What agent and guardian both know: one memfd, inherited by every process of a session
 * under a fixed descriptor. It outlives a kill -9 of either and needs no disk.
 */
#ifndef LMK_AGENT_SHARED_H
#define LMK_AGENT_SHARED_H

#include <linux/types.h>
#include <stdatomic.h>

#include "kill.h"
#include "lmk/v1/policy.pb.h"
#include "lmkd_missed.h"
#include "lmkd_replaced.h"
#include "others.h"

/* Descriptors that guardian and agent inherit from each other across execve(2). */
enum inherited_fd {
	FD_DIR_LOCK = 3,  /* DIR/lock, flocked: held while a process of the session lives */
	FD_PINS_LOCK = 4, /* the bpffs root, flocked: one session with handlers per device */
	FD_SHARED = 5,
	FD_READY = 6, /* pipe to `start`: one line of JSON once the sockets listen */
	FD_FIRST_OWN = 7,
};

/* Instead of JSON down FD_READY: this, an exit code, a space and why the agent ends at once. */
#define START_FAILED '!'

/* Why the device is being given back; 0: it is not. */
enum give_back_reason {
	GIVE_BACK_NONE = 0,
	GIVE_BACK_DETACH = 1,
	GIVE_BACK_LEASE = 2,
	GIVE_BACK_AGENT_LOST = 3,
	GIVE_BACK_LMKD_RETURNED = 4,
	GIVE_BACK_OTHER_KILLER_RETURNED = 5,
};

#define SHARED_EDITION 8

struct shared {
	__u32 edition;
	__u32 bytes;
	char dir[128];
	char build_id[72];
	char device_name[64];	  /* as the host calls it; empty: the host name */
	char holder[64];	  /* who attached */
	char self_test_text[128]; /* what the start-up self-test found */
	char lmkd_socket[108];	  /* sockaddr_un's; empty: lmkd's socket is not served */
	__u32 lmkd_short_killed;  /* LMKD_PROCKILL has 12 bytes */
	__u32 with_handlers;	  /* 0: only serves the spool */
	__u32 replace_lmkd;
	__u32 spool_limit_kb;
	__u32 kill_path;
	char kill_path_why[320];
	__u32 agent_timer; /* the decision is run by the agent's clock alone */
	__u32 carrier;
	__s32 self_test_result;
	_Atomic __u32 give_back;
	_Atomic __u32 run;
	_Atomic __u64 lease_ms; /* 0: no lease */
	_Atomic __u64 lease_end_ns;
	_Atomic __u64 leaving_until_ns; /* an agent that gives back: its next step is done then */
	_Atomic __s32 agent_pid;
	_Atomic __s32 guardian_pid;
	_Atomic __u32 agent_ready;    /* sockets listen */
	_Atomic __u32 agent_restarts; /* since `start` */
	_Atomic __u64 agent_ended_ns; /* when the guardian saw it end last; 0: it did not see */
	_Atomic __u64 last_kill_id;   /* newest kill whose report is in the spool */
	_Atomic __u32 kill_timeout_ms;
	_Atomic __u32 policy_bytes;
	__u8 policy[lmk_v1_Policy_size]; /* encoded, as the host sent it */
	/* Handlers that nobody served, which `start` replaced (leftovers.h). */
	__u32 leftovers_found;
	__u32 leftover_kills;
	__u64 leftover_ring_lost;
	struct kill kills[KILL_SLOTS];
	/* Newest kill by others that is in the spool. */
	_Atomic __u64 last_other_ns;
	_Atomic __s32 last_other_pid;
	_Atomic __u64 lmkd_answered_ns; /* at the end; 0: it did not yet, or was not replaced */
	_Atomic __u64 could_kill_ns;	/* until when the handlers could, at least; 0: not known */
	__u32 lmkd_restored;		/* without a record of it yet */
	struct lmkd_gaps lmkd_gaps;
	struct lmkd_missed lmkd_missed;
	char units_restored[160]; /* names; the same */
	struct other others[OTHER_SLOTS];
};

/* The memfd under FD_SHARED, all zero but edition and bytes. NULL with errno on failure. */
struct shared *shared_create(void);
/* What FD_SHARED holds. NULL with errno: not there, or of another edition. */
struct shared *shared_open(void);

/* The kill made first of those that are `wanted`; NULL: none is. */
struct kill *first_kill(struct shared *shared,
			bool (*wanted)(const struct shared *shared, const struct kill *kill));

/* Has the inherited descriptors (but FD_READY) survive execve(2). */
void shared_keep_across_exec(void);

/* Was FD_READY inherited? If not, its number is taken, so that nothing else can land there. */
int shared_take_ready(void);

#endif
