/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The anonymous memory of one process: mapped in steps, filled so that a chosen share of it
 * compresses, touched, given back.
 */
#ifndef LMK_WORKLOAD_MEMORY_H
#define LMK_WORKLOAD_MEMORY_H

#include <stdint.h>

/* Nothing can be known of how well a page compresses, so half is what is assumed. */
#define HALF_COMPRESSIBLE_PCT 50

/* Fill new pages so that about `pct` of each compresses away (0..100). */
void memory_set_compressible(unsigned int pct);

/* Map and fill `kb` more (rounded up to pages); 0 or -errno, with what was mapped kept. */
int memory_grow(uint64_t kb);

/* Unmap down to `kb`. */
void memory_shrink(uint64_t kb);

/* Mapped and filled so far, KiB. */
uint64_t memory_kb(void);

/* Write to the next `kb` of it, round and round, so that it stays the working set. */
void memory_touch(uint64_t kb);

/* MemTotal and MemAvailable of the device, KiB; 0 or -errno. */
int device_memory(uint64_t *total_kb, uint64_t *available_kb);

/*
 * How much a growth of `rate_kb_per_s` that began at `begin_ns` with nothing is due by now,
 * at most `behind_kb` more than `done_kb`: who was held up by a stall does not catch up in
 * one burst. Rate 0 is due at once, in steps of `behind_kb`.
 */
uint64_t growth_due_kb(uint64_t rate_kb_per_s, uint64_t begin_ns, uint64_t done_kb,
		       uint64_t behind_kb);

#endif
