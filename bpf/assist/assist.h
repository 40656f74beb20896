/* SPDX-License-Identifier: Apache-2.0 */
/*
 * User space's half of the assisted path: reads the iterator where the kernel cannot walk by
 * itself, and sends the signal. With handlers that need neither (in_kernel) it is one bpf(2) call.
 *
 * A struct assist is one thread's, all zero but for its descriptors. Allocates nothing.
 */
#ifndef LMK_ASSIST_H
#define LMK_ASSIST_H

#include <linux/types.h>

#include "lmk/abi.h"

struct assist {
	int call; /* program lmk_call */
	int walk; /* link of the iterator lmk_walk; -1: the handlers walk by themselves */
	int iter; /* opened ahead by assist_prime(); -1: none */
	int psi;  /* /proc/pressure/memory, once the handlers want it told; 0 before, -1: no */
};

/*
 * Opens the iterator ahead of the next walk, unless it is open, and has the kernel allocate what
 * it reads it with: not when memory is gone. The descriptor stays with `assist` until then.
 */
void assist_prime(struct assist *assist);

/* Has the first run tell of stall already, not only those after the handlers asked for it. */
void assist_open_psi(struct assist *assist);

/* Closes what assist_run() and assist_prime() opened. */
void assist_close(struct assist *assist);

/*
 * Runs lmk_call, and goes on with what it asks for until it has come to an end: call->outcome is
 * never LMK_OUT_WALK or LMK_OUT_PROPOSED. 0, or -errno of bpf(2).
 */
int assist_run(struct assist *assist, struct lmk_call *call);

#endif
