/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `run`: a session for an init (Android's, systemd) that wants one process to look after. It stays
 * until the session ends, and ends the session when it is told to.
 */
#ifndef LMK_AGENT_RUN_H
#define LMK_AGENT_RUN_H

#include "start.h"

/*
 * `words`: the program's own arguments, to begin anew with after a host's lease. Exit code: 0 where
 * somebody ended the session (SIGTERM, SIGINT, a detach, whoever started the killer that was
 * replaced), EXIT_TRANSIENT where it was lost. fail()s.
 */
int run_main(const struct start_options *options, char **words);

#endif
