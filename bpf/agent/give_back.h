/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving the device back: the one place that knows the order. Done by the guardian; by the
 * agent when there is no guardian; by `stop` when both are dead.
 */
#ifndef LMK_AGENT_GIVE_BACK_H
#define LMK_AGENT_GIVE_BACK_H

#include <stdbool.h>

#include "shared.h"

/*
 * Carries out every step, also after one that failed; returns the first -errno. `handlers`:
 * this session has loaded some. Leaves the spool. An lmkd that is back for its doing is noted in
 * `shared`, and recorded if there is nobody else who would.
 */
int give_back(struct shared *shared, bool handlers);

/*
 * Its first half, for those who have to do something before the handlers go: lmkd, if it was
 * replaced, is started and answers. May be called again. 0 or -errno.
 */
int give_back_lmkd(struct shared *shared);

#endif
