/* SPDX-License-Identifier: Apache-2.0 */
/* lmkd's socket served on the agent's loop, and our kills told to those who are connected. */
#ifndef LMK_AGENT_LMKD_SERVE_H
#define LMK_AGENT_LMKD_SERVE_H

#include "agent.h"

/* Before the first kill: what is made from now on can be told. */
void lmkd_begin(struct agent *agent);

/*
 * Serves the path that the session was started with (`shared->lmkd_socket`). What a dead agent left
 * there is replaced, and its clients come again. 0 or -errno: -EADDRINUSE: somebody serves it.
 */
int lmkd_serve(struct agent *agent);

/*
 * A kill, when its signal is sent: tells who is connected, else who comes next, and leaves what a
 * phone's tools look for (lmkd_traces.h). Nothing where the session is not to serve the socket.
 */
void lmkd_tell(struct agent *agent, const struct kill *kill);
/* When it is over: what came of its memory. */
void lmkd_tell_end(const struct agent *agent, const struct kill *kill);

/* One that no agent can tell of any more: for who comes to the socket of this session. */
void lmkd_keep(struct shared *shared, const struct kill *kill);

/*
 * No more: who is connected finds itself dropped, and comes again. The file stays: init replaces
 * it when it starts lmkd, and so does the next session.
 */
void lmkd_leave(struct agent *agent);

#endif
