/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cached apps are moved to swap ahead of need (policy.proto, Rest): what is asked for in a hurry is
 * then met by free memory, and not by reclaim or by a kill. A thread of its own, at the lowest
 * priority, and only while no kill is wanted.
 */
#ifndef LMK_AGENT_PAGEOUT_H
#define LMK_AGENT_PAGEOUT_H

#include <linux/types.h>

#include "bpf_sys.h"
#include "lmk/v1/policy.pb.h"

struct pageout_counts {
	__u64 processes; /* that were moved, once for each time */
	__u64 kb;	 /* of resident memory that they then had less */
};

/* Starts the thread. 0 or -errno. */
int pageout_start(const struct pins *pins);

/* The policy in force. Any thread. */
void pageout_set_policy(const lmk_v1_Policy *policy);

/* A kill is wanted or under way: nothing is moved until that has been over for a while. Any
 * thread; does not wait. */
void pageout_hold(void);

struct pageout_counts pageout_counts(void);

#endif
