// SPDX-License-Identifier: Apache-2.0
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "identity.h"

#define PAGE_KB	     4
#define PAGE_WORDS   512
#define POOL_WORDS   4096
#define CHUNK_KB     1024
#define CHUNKS	     65536 /* 64 GiB; an untouched array costs nothing */
#define CHUNK_BYTES  ((size_t)CHUNK_KB * 1024)
#define GOLDEN_RATIO 0x9e3779b97f4a7c15u

static unsigned char *chunks[CHUNKS];
static uint64_t filled_kb;
static uint64_t touched_kb; /* where memory_touch() goes on */
static unsigned int random_words = PAGE_WORDS * (100 - HALF_COMPRESSIBLE_PCT) / 100;
static uint64_t state;
static uint64_t pool[POOL_WORDS];

void memory_set_compressible(unsigned int pct)
{
	random_words = PAGE_WORDS * (100 - pct) / 100;
}

/* xorshift64 */
static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

/*
 * A random part that no compressor gets smaller, then one word repeated. Random bytes come
 * from a pool, from another place for each page: a page is compressed by itself, and making
 * them anew costs an emulated CPU more than the page fault. The first word always differs
 * from the rest: zram stores a page of one word as just that word.
 */
static void fill_page(uint64_t *page)
{
	unsigned int begin;

	if (!state) {
		state = (boottime_ns() ^ ((uint64_t)getpid() * GOLDEN_RATIO)) | 1;
		for (unsigned int i = 0; i < POOL_WORDS; i++)
			pool[i] = next_random();
	}
	begin = (unsigned int)(next_random() % (POOL_WORDS - PAGE_WORDS));
	memcpy(page, pool + begin, random_words * sizeof(*page));
	for (unsigned int i = random_words; i < PAGE_WORDS; i++)
		page[i] = GOLDEN_RATIO;
	page[0] = state;
}

int memory_grow(uint64_t kb)
{
	for (uint64_t end_kb = filled_kb + kb; filled_kb < end_kb; filled_kb += PAGE_KB) {
		uint64_t chunk = filled_kb / CHUNK_KB;

		if (chunk >= CHUNKS)
			return -ENOMEM;
		if (!chunks[chunk]) {
			void *memory = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

			if (memory == MAP_FAILED)
				return -errno;
			/* Page by page, as on a phone. Kernels without THP say EINVAL. */
			(void)madvise(memory, CHUNK_BYTES, MADV_NOHUGEPAGE);
			chunks[chunk] = memory;
		}
		fill_page((uint64_t *)(void *)(chunks[chunk] + filled_kb % CHUNK_KB * 1024));
	}
	return 0;
}

void memory_shrink(uint64_t kb)
{
	uint64_t first = (kb + CHUNK_KB - 1) / CHUNK_KB;

	if (kb >= filled_kb)
		return;
	for (uint64_t chunk = first; chunk < CHUNKS && chunks[chunk]; chunk++) {
		/* Cannot fail: the range is one that mmap gave. */
		(void)munmap(chunks[chunk], CHUNK_BYTES);
		chunks[chunk] = NULL;
	}
	if (kb % CHUNK_KB) {
		size_t kept = (size_t)(kb % CHUNK_KB + PAGE_KB - 1) / PAGE_KB * PAGE_KB * 1024;

		(void)madvise(chunks[first - 1] + kept, CHUNK_BYTES - kept, MADV_DONTNEED);
	}
	filled_kb = (kb + PAGE_KB - 1) / PAGE_KB * PAGE_KB;
	touched_kb = 0;
}

uint64_t memory_kb(void)
{
	return filled_kb;
}

void memory_touch(uint64_t kb)
{
	if (kb > filled_kb)
		kb = filled_kb;
	for (uint64_t done = 0; done < kb; done += PAGE_KB) {
		volatile uint64_t *word;

		if (touched_kb >= filled_kb)
			touched_kb = 0;
		word = (volatile uint64_t *)(void *)(chunks[touched_kb / CHUNK_KB] +
						     touched_kb % CHUNK_KB * 1024);
		*word += 1;
		touched_kb += PAGE_KB;
	}
}

int device_memory(uint64_t *total_kb, uint64_t *available_kb)
{
	static int fd = -1;
	char text[256];
	unsigned long long total, available;
	ssize_t length;

	if (fd < 0)
		fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = pread(fd, text, sizeof(text) - 1, 0);
	if (length <= 0)
		return -EIO;
	text[length] = '\0';
	if (sscanf(text, "MemTotal: %llu kB MemFree: %*u kB MemAvailable: %llu kB", &total,
		   &available) != 2)
		return -EPROTO;
	*total_kb = total;
	*available_kb = available;
	return 0;
}

uint64_t growth_due_kb(uint64_t rate_kb_per_s, uint64_t begin_ns, uint64_t done_kb,
		       uint64_t behind_kb)
{
	uint64_t due_kb = done_kb + behind_kb;

	if (rate_kb_per_s) {
		uint64_t elapsed_ms = (boottime_ns() - begin_ns) / 1000000;
		uint64_t wanted_kb = elapsed_ms * rate_kb_per_s / 1000;

		if (wanted_kb < due_kb)
			due_kb = wanted_kb > done_kb ? wanted_kb : done_kb;
	}
	return due_kb - done_kb;
}
