/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving the device back: the one place that knows the order. Done by the guardian; by the
 * agent when there is no guardian; by `stop` when both are dead, which the keeper (keeper.h) runs
 * where nobody would kill until then.
 */
#ifndef LMK_AGENT_GIVE_BACK_H
#define LMK_AGENT_GIVE_BACK_H

#include <stdbool.h>

#include "shared.h"

/*
 * Carries out every step, also after one that failed; returns the first -errno. But while lmkd
 * does not answer nothing else is done: the handlers go on. `handlers`: this session has loaded
 * some. Leaves the spool. A killer that is back for its doing is noted in `shared`, and recorded if
 * there is nobody else who would.
 */
int give_back(struct shared *shared, bool handlers);

/*
 * Its first half, for those who have to do something before the handlers go: lmkd, if it was
 * replaced, and the other killer, if it was stopped, are started and answer. May be called again. 0
 * or -errno.
 */
int give_back_killers(struct shared *shared);

/* The same, and returns only once lmkd answers: it is tried again and again. */
void give_back_killers_patiently(struct shared *shared);

/*
 * To be called before the handlers are kept from killing. `by_agent`: as the agent, which carries
 * their kills out, decides no more; else as they go to dry run. What counts is how they kill.
 */
void note_could_kill(struct shared *shared, bool by_agent);

/* Handlers that kill by themselves go on when the agent is dead. */
bool kills_without_agent(const struct shared *shared);

/* Was somebody stopped in this boot who is not back yet? */
bool give_back_noted(const char *dir);

#endif
