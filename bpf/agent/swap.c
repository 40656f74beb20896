// SPDX-License-Identifier: Apache-2.0
#include "swap.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"

/* Phones have one; some boards one for each CPU. */
#define ZRAM_MAX 4
/* Swap is set up once at boot, but perhaps after us. */
#define FIND_AGAIN_NS (30 * NSEC_PER_SEC)
/* Of less the ratio says nothing yet. */
#define LEAST_BYTES (4u << 20)

static int mm_stat[ZRAM_MAX];
static unsigned int zrams;
static __u64 found_ns;
static _Atomic __u32 compression_pct; /* 0: not known */

/* "/dev/zram0" or Android's "/dev/block/zram0": its number; -1 for any other swap. */
static int zram_number(const char *device)
{
	const char *name = strrchr(device, '/');

	return name && !strncmp(name, "/zram", 5) ? atoi(name + 5) : -1;
}

/* Opens mm_stat of every zram in /proc/swaps; of none where other swap is among them. */
static void find_zrams(void)
{
	char text[2048], *line, *rest = text;

	for (unsigned int i = 0; i < zrams; i++)
		close(mm_stat[i]);
	zrams = 0;
	if (read_small_file("/proc/swaps", text, sizeof(text)) <= 0)
		return;
	strsep(&rest, "\n"); /* the heading */
	while ((line = strsep(&rest, "\n")) && *line) {
		int number = zram_number(strsep(&line, " \t")), fd;
		char path[64];

		snprintf(path, sizeof(path), "/sys/block/zram%d/mm_stat", number);
		fd = number < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || zrams == ZRAM_MAX) {
			if (fd >= 0)
				close(fd);
			while (zrams)
				close(mm_stat[--zrams]);
			return;
		}
		mm_stat[zrams++] = fd;
	}
}

void swap_measure(void)
{
	unsigned long long held = 0, taken = 0;
	__u64 now_ns = boottime_ns();

	if (!found_ns || (!zrams && now_ns - found_ns > FIND_AGAIN_NS)) {
		find_zrams();
		found_ns = now_ns;
	}
	for (unsigned int i = 0; i < zrams; i++) {
		unsigned long long orig, compressed, used;
		char text[256];
		ssize_t length = pread(mm_stat[i], text, sizeof(text) - 1, 0);

		if (length <= 0)
			return;
		text[length] = 0;
		/* orig_data_size compr_data_size mem_used_total, bytes */
		if (sscanf(text, "%llu %llu %llu", &orig, &compressed, &used) != 3)
			return;
		held += orig;
		taken += used;
	}
	compression_pct = held < LEAST_BYTES || !taken ? 0 : (__u32)(held * 100 / taken);
}

void swap_fill(struct lmk_call *call)
{
	struct sysinfo info;

	call->compression_pct = compression_pct;
	if (sysinfo(&info))
		return;
	call->swap_total_kb = (__u64)info.totalswap * info.mem_unit / 1024;
	call->swap_free_kb = (__u64)info.freeswap * info.mem_unit / 1024;
}

bool swap_has_room(__u32 free_pct)
{
	struct lmk_call call = {0};

	swap_fill(&call);
	return call.swap_free_kb * 100 > call.swap_total_kb * free_pct;
}
