/* SPDX-License-Identifier: Apache-2.0 */
/* `--spool-fill`: records to measure streaming with. */
#ifndef LMK_AGENT_FILL_H
#define LMK_AGENT_FILL_H

#include <linux/types.h>
#include <stdbool.h>

/* Spools `count` records in a run of its own; prints one line of JSON. Exit code, or fail()s. */
int fill_main(const char *dir, __u64 count, bool full, __u32 spool_limit_kb);

#endif
