/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last one there: where handlers need an agent to kill (the assisted path), a device whose own
 * killer was stopped has none once agent and guardian are killed together. The keeper sleeps until
 * the session is over, and gives back what nobody else has. It does nothing else, so that there is
 * nothing it could die of.
 */
#ifndef LMK_AGENT_KEEPER_H
#define LMK_AGENT_KEEPER_H

/* Process of the role `keeper`. Exit code. */
int keeper_main(void);

#endif
