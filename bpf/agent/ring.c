// SPDX-License-Identifier: Apache-2.0
#include "ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <unistd.h>

int ring_open(struct ring *ring, int map, __u32 bytes)
{
	long page = sysconf(_SC_PAGESIZE);
	__u8 *producer;
	void *consumer;

	consumer = mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (consumer == MAP_FAILED)
		return -errno;
	/* The data is mapped twice in a row, so that no event wraps. */
	producer = mmap(NULL, (size_t)page + 2 * (size_t)bytes, PROT_READ, MAP_SHARED, map, page);
	if (producer == MAP_FAILED) {
		int error = -errno;

		munmap(consumer, (size_t)page);
		return error;
	}
	ring->consumer_position = consumer;
	ring->producer_position = (const unsigned long *)(const void *)producer;
	ring->data = producer + page;
	ring->mask = bytes - 1;
	return 0;
}

void ring_close(struct ring *ring)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	munmap(ring->consumer_position, page);
	munmap((void *)(unsigned long)ring->producer_position, page + 2 * (ring->mask + 1));
}

bool ring_consume(struct ring *ring, bool (*take)(const void *event, size_t size, void *),
		  void *context)
{
	unsigned long consumer = *ring->consumer_position, producer;

	producer = __atomic_load_n(ring->producer_position, __ATOMIC_ACQUIRE);
	while (consumer < producer) {
		const __u8 *record = ring->data + (consumer & ring->mask);
		__u32 head = __atomic_load_n((const __u32 *)(const void *)record, __ATOMIC_ACQUIRE);
		__u32 length = head & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

		if (head & BPF_RINGBUF_BUSY_BIT)
			break; /* being written: its commit wakes us again */
		if (!(head & BPF_RINGBUF_DISCARD_BIT) &&
		    !take(record + BPF_RINGBUF_HDR_SZ, length, context))
			return false;
		consumer += (length + BPF_RINGBUF_HDR_SZ + 7) & ~7ul;
		__atomic_store_n(ring->consumer_position, consumer, __ATOMIC_RELEASE);
		if (consumer == producer)
			producer = __atomic_load_n(ring->producer_position, __ATOMIC_ACQUIRE);
	}
	return true;
}
