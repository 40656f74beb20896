/* SPDX-License-Identifier: Apache-2.0 */
/* Abstract Unix sockets: names with a random part, and who is on the other side. */
#ifndef LMK_AGENT_SOCKET_H
#define LMK_AGENT_SOCKET_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "record.h"
#include "session_file.h"

/*
 * A listening, non-blocking socket under an abstract name PREFIX-<16 hex digits>. A name that
 * somebody else has is not fought over: another one is drawn. Descriptor or -errno.
 */
int socket_listen(const char *prefix, char name[SOCKET_NAME]);

/* A blocking connection to an abstract name. Descriptor or -errno. */
int socket_connect(const char *name);

/* Accepts one client. Descriptor, or -errno (-EAGAIN: none waits). */
int socket_accept(int listener, struct record_peer *peer);

/* The first gate: root, system and shell may speak at all. */
bool socket_uid_allowed(__u32 uid);

/* Equal in time that does not tell how much of it was. */
bool token_matches(const __u8 *ours, const __u8 *theirs, size_t theirs_length);

/* Fills `out` from the kernel's random source. 0 or -errno. */
int random_bytes(void *out, size_t size);

#endif
