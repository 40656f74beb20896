/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DIR/session: how a host finds and proves itself to the agent. Lines of key=value, mode
 * 0600, replaced by rename(2), new names and a new token with every agent: a name that was
 * public once may be squatted, and a squatter may have been told the old token.
 */
#ifndef LMK_AGENT_SESSION_FILE_H
#define LMK_AGENT_SESSION_FILE_H

#include <linux/types.h>
#include <stdbool.h>

#define TOKEN_BYTES  16
#define SOCKET_NAME  40 /* bytes, NUL included */
#define HOLDER_BYTES 64

struct session {
	char record_socket[SOCKET_NAME]; /* abstract: without the leading NUL byte */
	char control_socket[SOCKET_NAME];
	__u8 token[TOKEN_BYTES];
	char build_id[72];
	char boot_id[40];
	char holder[HOLDER_BYTES]; /* who attached: USER@HOST, or empty */
	__u32 run;
	__s32 agent_pid;
	__u64 agent_start_ticks;
	__s32 guardian_pid;
	__u64 guardian_start_ticks;
	__u32 agent_restarts;
	__u32 kill_path;
	const char *other_killer; /* as the policy named it when they were stopped; NULL: none */
	bool replacing;		  /* lmkd */
};

/* 0 or -errno. */
int session_write(const char *dir, const struct session *session);
int session_read(const char *dir, struct session *session);
void session_remove(const char *dir);

/* This boot's id; 0 or -errno. */
int read_boot_id(char boot_id[40]);

/* in_kernel, assisted ...: as `lmk doctor` names them. */
const char *kill_path_name(__u32 kill_path);
const char *carrier_name(__u32 carrier);

#endif
