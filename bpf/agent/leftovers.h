/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills that nobody has reported: made while agent and guardian were dead, or in the hands of
 * an agent that died for good. What is reported of them is what the handlers said.
 */
#ifndef LMK_AGENT_LEFTOVERS_H
#define LMK_AGENT_LEFTOVERS_H

#include "record.h"
#include "shared.h"

/*
 * Ends the deciding of pinned handlers that nobody owns, and takes what their ring buffer
 * still holds into shared->kills; what does not fit there is spooled at once, in a run of its
 * own. Counts are in shared->leftover_*.
 */
void leftovers_take(struct shared *shared);

/*
 * Spools what shared->kills holds and a last word, in a run of its own. For when no agent
 * will. `shared` gives directory, bound and last run, and gets the new run. 0 or -errno.
 */
int leftovers_spool(struct shared *shared, lmk_v1_Lifecycle_Kind kind, const char *text);

/*
 * Spools which killers are back (shared->*_restored), and that the handlers of a session that had
 * replaced lmkd kill no more, in a run of its own. 0 or -errno.
 */
int leftovers_spool_restored(struct shared *shared);

#endif
