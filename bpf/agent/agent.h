/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent process: its main thread serves, spools and keeps time. agent_start.c brings it up,
 * agent.c is its loop, say.c what it records.
 */
#ifndef LMK_AGENT_AGENT_H
#define LMK_AGENT_AGENT_H

#include <linux/types.h>
#include <stdbool.h>

#include "bpf_sys.h"
#include "client.h"
#include "lmk/v1/control.pb.h"
#include "lmkd_replaced.h"
#include "session_file.h"
#include "shared.h"
#include "spool.h"

struct decider;
struct lmkd_server;

struct agent {
	struct shared *shared;
	struct session session;
	struct spool spool;
	struct pins pins;
	struct decider *decider;  /* NULL without handlers */
	__u64 deciding_ns;	  /* since when */
	bool replacing;		  /* lmkd: this session kills in its place */
	bool others_stopped;	  /* units of other killers: this session kills in their place */
	struct lmkd_server *lmkd; /* NULL: lmkd's socket is not served */
	lmk_v1_Policy policy;
	__u8 token_proof[16];
	int epoll_fd;
	int timer_fd;
	int record_listener;
	int control_listener;
	int decider_event; /* eventfd: a kill is done, or pressure began */
	int guardian_pidfd;
	struct client *clients; /* CLIENTS_MAX of them */
	__u64 next_beat_ns;
	__u64 next_names_ns;
	__u64 costs_until_ns; /* not 0: costs_fd has the kernel count them until then */
	int costs_fd;
	__u32 give_back; /* enum give_back_reason; not 0: leave the loop */
	bool end_asked;	 /* by a client */
	bool spooled;	 /* since the followers were served last */
	/* CLIENT_REFUSED records: at most REFUSED_BURST in REFUSED_WINDOW_NS. */
	__u64 refused_window_ns;
	__u32 refused_in_window;
	__u32 refused_unsaid;
};

/* Process of the subcommand `agent`: everything else comes from shared memory. Exit code. */
int agent_main(void);

/* Serves until the device is given back (agent.c). Exit code. */
int agent_loop(struct agent *agent);

/* The session file as things are now. 0 or -errno. */
int agent_write_session(struct agent *agent);
/* Has the loop hear of the guardian's end. */
void agent_watch_guardian(struct agent *agent);
/* Finds anew who must never die. */
void agent_refresh_protected(struct agent *agent);
/* One of them is about to come up: looks now, and a few times more. */
void agent_expect_daemon(struct agent *agent);

/*
 * Tells of new kills over lmkd's socket; spools those that are done, ours and others', and frees
 * their slots.
 */
void agent_report_kills(struct agent *agent);

/* Spools a Lifecycle record; `peer` may be NULL. */
void agent_say(struct agent *agent, lmk_v1_Lifecycle_Kind kind, const struct record_peer *peer,
	       const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The same about lmkd. */
void agent_say_gaps(struct agent *agent, lmk_v1_Lifecycle_Kind kind, const struct lmkd_gaps *gaps,
		    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* A client that was turned away: logged as a record, not more often than a flood deserves. */
void agent_refused(struct agent *agent, const struct record_peer *peer, const char *why);

void agent_hello(struct agent *agent, lmk_v1_Hello *hello);

/* Puts a checked policy in force. 0 or -errno. */
int agent_set_policy(struct agent *agent, const lmk_v1_Policy *policy);

/* Events that found no room in the kernel's ring: they never had a sequence number. */
__u64 agent_ring_lost(const struct agent *agent);

#endif
