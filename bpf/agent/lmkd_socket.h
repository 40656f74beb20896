/* SPDX-License-Identifier: Apache-2.0 */
/* SOCK_SEQPACKET sockets of lmkd's kind: listening at a path, and packets with their senders. */
#ifndef LMK_AGENT_LMKD_SOCKET_H
#define LMK_AGENT_LMKD_SOCKET_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* Connections that may wait to be accepted. */
#define LMKD_BACKLOG 8

enum lmkd_receipt {
	LMKD_NOTHING, /* none waits */
	LMKD_PACKET,
	LMKD_END, /* the client is gone, and all that it had sent is read */
};

/*
 * A listening socket at `path`, 0660 and of system:system. One that nobody listens at any more is
 * replaced. Descriptor, or -errno (-EADDRINUSE: somebody does listen).
 */
int lmkd_listen(const char *path);

/* May processes of that uid use the socket? ActivityManager is system, init is root. */
bool lmkd_uid_allowed(__u32 uid);

/*
 * One packet and who sent it, without waiting. `length` is its whole length, also where that is
 * more than `size`. The listener needs SO_PASSCRED.
 */
enum lmkd_receipt lmkd_receive(int fd, __u8 *bytes, size_t size, size_t *length,
			       struct ucred *sender);

#endif
