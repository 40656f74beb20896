/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving the device back: the one place that knows the order. Done by the guardian; by the
 * agent when there is no guardian; by `stop` when both are dead.
 */
#ifndef LMK_AGENT_GIVE_BACK_H
#define LMK_AGENT_GIVE_BACK_H

#include <stdbool.h>

/*
 * Carries out every step, also after one that failed; returns the first -errno. `handlers`:
 * this session has loaded some. Leaves the spool.
 */
int give_back(const char *dir, bool handlers);

#endif
