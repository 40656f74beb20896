/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients of both sockets: who is connected, what they sent, what they have not read yet.
 * Their number, their requests and what is buffered for each are bounded.
 */
#ifndef LMK_AGENT_CLIENT_H
#define LMK_AGENT_CLIENT_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "record.h"
#include "spool_read.h"

#define CLIENTS_MAX	   8
#define CLIENT_REQUEST_MAX 4096 /* payload, bytes: a policy with all its rules */
#define CLIENT_BLOCK	   (32 * 1024)
/* Between connecting and the whole first request. */
#define CLIENT_REQUEST_NS (5 * NSEC_PER_SEC)
/* Without reading anything while something waits for it. */
#define CLIENT_STALLED_NS (30 * NSEC_PER_SEC)

struct agent;

enum client_kind {
	CLIENT_FREE = 0,
	CLIENT_RECORD = 1,
	CLIENT_CONTROL = 2,
};

struct client {
	enum client_kind kind;
	int fd;
	struct record_peer peer;
	bool streaming; /* the handshake is done */
	bool follow;
	bool closing; /* close once everything is written */
	bool waits_for_room;
	__u64 since_ns;	   /* connected, or last request */
	__u64 progress_ns; /* last time it read something, or nothing waited */
	int unread;	   /* bytes in the socket, last time it was asked */
	bool reads;	   /* between the last two times it was asked, it took some, or all */
	__u64 ring_lost_told;
	struct spool_reader reader;
	size_t in_length;
	size_t out_length;
	size_t out_sent;
	__u8 in[CLIENT_REQUEST_MAX + 3];
	__u8 out[CLIENT_BLOCK];
};

/* All that wait at the listener. */
void client_accept(struct agent *agent, enum client_kind kind);
/* `events` of epoll for the client in slot `index`. */
void client_event(struct agent *agent, unsigned int index, __u32 events);
/*
 * Writes what waits in `out`. True: all of it is written. False: no room now (epoll will
 * tell), or the client is gone.
 */
bool client_flush(struct agent *agent, struct client *client);
void client_drop(struct agent *agent, struct client *client);
/* Drops those that are too slow. Returns when to look again, 0: no need. */
__u64 client_expire(struct agent *agent, __u64 now_ns);
/* Bytes written but not yet read by the peer. */
int client_unread(const struct client *client);

#endif
