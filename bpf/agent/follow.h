/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following kills to their end: memory released at once, exit seen through a pidfd and the
 * handlers' events, memory back by whichever says so first. For the deciding thread.
 */
#ifndef LMK_AGENT_FOLLOW_H
#define LMK_AGENT_FOLLOW_H

#include <linux/types.h>
#include <stdbool.h>

#include "bpf_sys.h"
#include "shared.h"

struct follower {
	struct shared *shared;
	const struct pins *pins;
	int epoll_fd;
	__u64 started_ns;	      /* kills signalled before this had no agent */
	__u64 retry_ns;		      /* when a busy address space is tried again; 0: none waits */
	int pidfds[KILL_SLOTS];	      /* -1: none */
	void (*named)(void *context); /* a kill has its names and may be told; or NULL */
	void (*done)(void *context);  /* a slot became KILL_DONE */
	void *context;
};

/* Takes over what a dead agent had been following. */
void follow_start(struct follower *follower);
/* False: no slot is free. The event is to be kept until the main thread has freed one. */
bool follow_kill(struct follower *follower, const struct lmk_kill_event *event);
/* EXITED, MEMORY_BACK and RETRY events. */
void follow_end(struct follower *follower, const struct lmk_end_event *event);
/* The pidfd of slot `index` says that its process is gone. */
void follow_exit(struct follower *follower, __u32 index);
/* What is due by now. Returns when to call again (CLOCK_BOOTTIME ns); 0: no need. */
__u64 follow_due(struct follower *follower, __u64 now_ns);
/* Completes all of them as they are. */
void follow_stop(struct follower *follower);

#endif
