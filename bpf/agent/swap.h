/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers are told of swap: sizes, and how well zram compresses what is in it. */
#ifndef LMK_AGENT_SWAP_H
#define LMK_AGENT_SWAP_H

#include <linux/types.h>
#include <stdbool.h>

#include "lmk/abi.h"

/* Reads what zram reaches; for the deciding thread alone. */
void swap_measure(void);
/* Fills in the swap fields of a call; any thread. */
void swap_fill(struct lmk_call *call);
/* Is more than `free_pct` of swap free? Not where there is none. Any thread. */
bool swap_has_room(__u32 free_pct);

#endif
