/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host at the other end of stdin: "quit", the end of input, or silence for longer than the
 * lease all mean that it needs this program no more.
 */
#ifndef LMK_BENCH_HOST_H
#define LMK_BENCH_HOST_H

#include <stdint.h>

/* From now on it counts as heard. `take` gets every line but "quit"; NULL: they say nothing. */
void host_begin(int64_t lease_s, void (*take)(char *line));

/* Wait for it for so long at most (-1: for a tick of the lease); 0 when it has gone. */
int host_lives(int timeout_ms);

#endif
