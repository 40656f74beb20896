/* SPDX-License-Identifier: Apache-2.0 */
/* `status`: what the running agent says of itself, as one line of JSON, without a host. */
#ifndef LMK_AGENT_ASK_STATUS_H
#define LMK_AGENT_ASK_STATUS_H

int ask_status_main(const char *dir);

#endif
