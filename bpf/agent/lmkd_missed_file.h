/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills that nobody heard of (lmkd_missed.h), from the process that finds them when agent and
 * guardian are dead to the session that comes next: DIR/lmkd-missed, of one boot and one build.
 */
#ifndef LMK_AGENT_LMKD_MISSED_FILE_H
#define LMK_AGENT_LMKD_MISSED_FILE_H

#include "lmkd_missed.h"

/* Nothing where there are none. 0 or -errno. */
int lmkd_missed_save(const char *dir, const struct lmkd_missed *missed);
/* Takes them over, once; `missed` stays as it is where there is nothing of this boot. */
void lmkd_missed_load(const char *dir, struct lmkd_missed *missed);

#endif
