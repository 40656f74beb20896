/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The killer that the policy names (other_killer: systemd-oomd, earlyoom, nohang): stopped once
 * the handlers decide, started while they still do, and noticed when somebody starts it meanwhile.
 * As take_over.h has it for lmkd; here there is nobody's socket to serve.
 */
#ifndef LMK_AGENT_OTHER_KILLER_H
#define LMK_AGENT_OTHER_KILLER_H

#include <stddef.h>

#include "agent.h"

/*
 * Of a session's first agent, once its handlers decide. One that is not here is recorded, and the
 * session goes on. 0; or -errno with the reason in `why`: then whatever it had stopped runs on.
 * -EACCES: one that runs is masked.
 */
int other_killer_stop(struct agent *agent, char *why, size_t size);

/* Of an agent that comes after one that died: watches what is stopped. */
void other_killer_resume(struct agent *agent);

/*
 * Looks whether one of them runs. Somebody has started it, then: this session ends, in the order
 * of every give-back, for the reasons that take_over_check() has.
 */
void other_killer_check(struct agent *agent);

/* Cgroups were made where theirs were: it is about to run, or somebody else is. */
void other_killer_hear(struct agent *agent);

/*
 * At the end, while the handlers still decide: starts them, waits until they are ready, records
 * it. What fails here is left to give_back().
 */
void other_killer_end(struct agent *agent);

/* Whose units are stopped, as text; empty: nobody's. */
void other_killer_list(const struct agent *agent, char *text, size_t size);

/* As a policy calls it: "none", "any", "systemd-oomd", "earlyoom", "nohang". */
const char *other_killer_name(lmk_v1_OtherKiller killer);

#endif
