/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's side of replacing lmkd (`start --replace-lmkd`): taking over once the handlers
 * decide, giving back while they still do, and noticing that somebody started lmkd meanwhile.
 */
#ifndef LMK_AGENT_TAKE_OVER_H
#define LMK_AGENT_TAKE_OVER_H

#include <stddef.h>

#include "agent.h"

/*
 * Of a session's first agent, once its handlers decide: stops lmkd, serves its socket, records
 * both. 0; or -errno with the reason in `why`: lmkd goes on, or is noted as one to be started.
 */
int take_over(struct agent *agent, char *why, size_t size);

/* Of an agent that comes after one that died: serves the socket again, unless lmkd runs. */
void take_over_resume(struct agent *agent);

/*
 * After a refresh of the protected map. A socket that is not served yet is served. An lmkd that
 * runs was started by somebody else: this session ends, in the order of every give-back.
 *
 * Not a dry run beside it: who started lmkd wants it to kill, and init keeps it alive, while a
 * session in waiting would have to take over again should it be stopped a second time: two owners
 * that undo each other's work, and between them moments with two killers or none. Not stopping
 * it again either, for the same reason.
 */
void take_over_check(struct agent *agent);

/* Init has put a socket into lmkd's place: the process that it is for comes in a moment. */
void take_over_hear_place(struct agent *agent);

/*
 * At the end, while the handlers still decide: has lmkd started, waits for its answer, records it.
 * False: it does not answer, which is recorded the first time. To be called again, then.
 */
bool take_over_end(struct agent *agent);

#endif
