/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Puts a policy in force while the handlers decide: a decision works with the one before or with
 * this one, from its beginning to its end.
 *
 * It is written into the slot of map `policy` that is not in force, and then that slot is put in
 * force under the claim, between two decisions. What reads a policy without the claim (the
 * tracepoints) may be in the slot of the one before for a moment: that slot is not written again
 * before every program that was running then has come to its end.
 *
 * One writer at a time: the agent's main thread.
 */
#ifndef LMK_ASSIST_PUT_POLICY_H
#define LMK_ASSIST_PUT_POLICY_H

#include <linux/types.h>

#include "lmk/abi.h"

/*
 * `call`: program lmk_call; `map`: map policy. 0: it is in force, and every program that was in the
 * one before has ended. -errno: that one is in force as ever; -EBUSY: the claim was not free for 2
 * s.
 */
int put_policy(int call, int map, const struct lmk_policy *policy);

/* The policy in force, as the handlers read it. 0 or -errno. */
int policy_in_force(int call, int map, struct lmk_policy *policy);

#endif
