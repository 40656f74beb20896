/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer side of a BPF ring buffer: the layout is the kernel's user-space ABI
 * (kernel/bpf/ringbuf.c). The consumer's position lies in the map, so a new agent goes on
 * where a dead one stopped.
 */
#ifndef LMK_AGENT_RING_H
#define LMK_AGENT_RING_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

struct ring {
	unsigned long *consumer_position;
	const unsigned long *producer_position;
	const __u8 *data;
	unsigned long mask;
};

/* Maps the ring buffer `map` of `bytes` (a power of two). 0 or -errno. */
int ring_open(struct ring *ring, int map, __u32 bytes);

void ring_close(struct ring *ring);

/*
 * Hands each event that is there to `take`, oldest first, until one is not taken: that one stays
 * in the ring and comes again. Whether all were taken.
 */
bool ring_consume(struct ring *ring, bool (*take)(const void *event, size_t size, void *),
		  void *context);

#endif
