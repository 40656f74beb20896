/* SPDX-License-Identifier: Apache-2.0 */
/* A kill of ours in the words of lmkd's socket. */
#ifndef LMK_AGENT_LMKD_REPORT_H
#define LMK_AGENT_LMKD_REPORT_H

#include <stdbool.h>

#include "kill.h"
#include "lmkd_packet.h"

/*
 * Fills `killed`, whose name is put into `name`, as soon as the signal is sent: nothing that is
 * known only later is in it. False: nobody was killed (a dry run, or a signal
 * that was refused), so there is nothing to tell.
 */
bool lmkd_report(const struct kill *kill, struct lmkd_killed *killed, char name[LMKD_NAME_MAX + 1]);

#endif
