/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmkd's socket, /dev/socket/lmkd, for ActivityManager: who is connected, what they ask for
 * (lmkd_packet.h) and what they are told of kills. It lives on an epoll loop of somebody else,
 * knows nothing of handlers, and allocates nothing.
 *
 * What a client cannot do: block the loop, drop another client, or have a process changed that
 * another one registered. A request that is not understood is counted and changes nothing. One that
 * does not read is dropped when nothing more fits into its connection.
 */
#ifndef LMK_AGENT_LMKD_SERVER_H
#define LMK_AGENT_LMKD_SERVER_H

#include <linux/types.h>
#include <stdbool.h>

#include "lmkd_missed.h"
#include "lmkd_packet.h"
#include "lmkd_registry.h"

#define LMKD_CLIENTS 8 /* lmkd: 3, and a fourth drops them all */

/* What some requests are about, which is not the socket's business. NULL: nothing to do. */
struct lmkd_hooks {
	void *context;
	/* A process has a record, or it was told again. LMKD_TAKEN, or LMKD_REFUSE_FULL. */
	enum lmkd_refusal (*registered)(void *context, struct lmkd_registry *registry, __s32 pid);
	/* The targets are these now. */
	void (*targets)(void *context, const struct lmkd_target *targets, __u32 count);
	/* Properties have changed. 0, or -errno, which the client is told as failure. */
	int (*update_props)(void *context);
	/* From now on kills are wanted. No reply, as in lmkd. */
	void (*start_monitoring)(void *context);
	/* True: the device has booted. Asked until it has. */
	bool (*boot_completed)(void *context);
};

struct lmkd_client {
	int fd;	      /* -1: free */
	__s32 pid;    /* who sent its last packet: the owner of what it registers */
	__u32 events; /* bits: 1 << enum lmkd_subscription */
};

struct lmkd_counters {
	__u64 packets;
	__u64 refused[LMKD_REFUSALS]; /* records of LMKD_PROCS_PRIO each for itself */
	__u64 clients_refused;
	__u64 clients_deaf; /* dropped, as they did not read */
	__u64 unsent;	    /* replies and reports that a client did not get */
	__u64 told;	    /* kills, by LMKD_PROCKILL when they were made */
	__u64 told_later;   /* to who subscribed only then */
};

struct lmkd_server {
	int epoll_fd;
	int listener;
	bool short_killed; /* LMKD_PROCKILL without rss_kb: up to Android 15's first release */
	bool booted;
	struct lmkd_hooks hooks;
	struct lmkd_missed *missed;
	struct lmkd_client clients[LMKD_CLIENTS];
	struct lmkd_target targets[LMKD_TARGETS_MAX];
	__u32 targets_count;
	__u64 targets_ns; /* when they were set; 0: never */
	struct lmkd_counters counters;
	struct lmkd_registry registry;
};

/* Nobody is connected yet. Kills are counted from now on, and kept in `missed` while that is so. */
void lmkd_server_begin(struct lmkd_server *server, struct lmkd_missed *missed);

/*
 * Serves `listener`, a listening SOCK_SEQPACKET socket, and owns it from now on. Its events carry
 * SOURCE_LMKD_LISTENER and SOURCE_LMKD_CLIENT. 0 or -errno.
 */
int lmkd_server_open(struct lmkd_server *server, int epoll_fd, int listener,
		     const struct lmkd_hooks *hooks);

/* All that wait at the listener. */
void lmkd_server_accept(struct lmkd_server *server);
/* Something came from the client in slot `index`: a bounded number of its packets is carried out.
 */
void lmkd_server_event(struct lmkd_server *server, __u32 index);

/*
 * Tells all who subscribed of a kill; where nobody has, who does so next. Its uid becomes the one
 * that the process was registered under, if it was.
 */
void lmkd_server_killed(struct lmkd_server *server, struct lmkd_killed *killed);

__u32 lmkd_server_clients(const struct lmkd_server *server);

void lmkd_server_close(struct lmkd_server *server);

#endif
