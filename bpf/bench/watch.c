// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench watch: what the kernel says of memory at even intervals, and how much of each process
 * is resident: for who wants to know what came before a kill, and what it gave back.
 *
 * Events: "sample" {time_ns, some_us, full_us, free_kb, available_kb, swap_free_kb,
 * refault_file, refault_anon, oom_kills, swapped_kb, swap_uses_kb} and "sizes" {time_ns,
 * "sizes": [PID, RESIDENT_KB, …]}; "end".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "host.h"
#include "identity.h"
#include "lines.h"
#include "options.h"

#define PAGE_KB 4
/* The whole of /proc/vmstat: 4 to 6 kB on the kernels there are. */
#define TEXT_MAX    16384
#define PIDS_KNOWN  32768
#define SIZES_LINE  40 /* they fit into one line of lines.h */
#define SIZE_DIGITS 20

static int64_t interval_ms = 200, lease_s;
static char text[TEXT_MAX];
static unsigned char is_kernel[PIDS_KNOWN]; /* threads of the kernel have no size to ask for */

static const struct bench_option table[] = {
	{"interval-ms", &interval_ms, NULL, 10, 60000, "from sample to sample (200)"},
	{"lease-s", &lease_s, NULL, 0, 3600, "end when no byte came on stdin for that long"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

/* The content of `path`, kept open in `fd`, in `text`; 0 or -errno. */
static int reread(const char *path, int *fd)
{
	ssize_t length;

	if (*fd == -1)
		*fd = open(path, O_RDONLY | O_CLOEXEC);
	if (*fd < 0) {
		*fd = -2; /* not on this kernel: not asked for again */
		return -ENOENT;
	}
	length = pread(*fd, text, sizeof(text) - 1, 0);
	if (length < 0)
		return -errno;
	text[length] = '\0';
	return 0;
}

/* The number after `key` at the beginning of a line of `text`; 0 when it is not there. */
static unsigned long long field(const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, length))
			return strtoull(line + length, NULL, 10);
	}
	return 0;
}

static unsigned long long stall_us(const char *kind)
{
	const char *line = strstr(text, kind);
	const char *total = line ? strstr(line, "total=") : NULL;

	return total ? strtoull(total + strlen("total="), NULL, 10) : 0;
}

static void say_sample(void)
{
	static int psi = -1, meminfo = -1, vmstat = -1, zram = -1;
	unsigned long long some = 0, full = 0, free = 0, available = 0, swap_free = 0;
	unsigned long long refault_file = 0, refault_anon = 0, oom_kills = 0, stored = 0, used = 0;
	uint64_t now_ns = boottime_ns();

	if (!reread("/proc/pressure/memory", &psi)) {
		some = stall_us("some ");
		full = stall_us("full ");
	}
	if (!reread("/proc/meminfo", &meminfo)) {
		free = field("MemFree:");
		available = field("MemAvailable:");
		swap_free = field("SwapFree:");
	}
	if (!reread("/proc/vmstat", &vmstat)) {
		refault_file = field("workingset_refault_file ");
		refault_anon = field("workingset_refault_anon ");
		oom_kills = field("oom_kill ");
	}
	/* Bytes stored, compressed, and the memory they take. */
	if (!reread("/sys/block/zram0/mm_stat", &zram))
		(void)sscanf(text, "%llu %*u %llu", &stored, &used);
	say("{\"event\":\"sample\",\"time_ns\":%llu,\"some_us\":%llu,\"full_us\":%llu,"
	    "\"free_kb\":%llu,\"available_kb\":%llu,\"swap_free_kb\":%llu,"
	    "\"refault_file\":%llu,\"refault_anon\":%llu,\"oom_kills\":%llu,"
	    "\"swapped_kb\":%llu,\"swap_uses_kb\":%llu}",
	    (unsigned long long)now_ns, some, full, free, available, swap_free, refault_file,
	    refault_anon, oom_kills, stored / 1024, used / 1024);
}

static unsigned long long resident_kb(const char *pid)
{
	unsigned long long size = 0, resident = 0;
	char path[64], line[128];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.16s/statm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	length = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (length <= 0)
		return 0;
	line[length] = '\0';
	if (sscanf(line, "%llu %llu", &size, &resident) == 2 && !size) {
		long number = strtol(pid, NULL, 10);

		/* Or one that is just exiting: its pid is not used again soon. */
		if (number < PIDS_KNOWN)
			is_kernel[number] = 1;
	}
	return resident * PAGE_KB;
}

static void say_sizes(void)
{
	static DIR *directory;
	char sizes[SIZES_LINE * SIZE_DIGITS + 1];
	struct dirent *entry;
	size_t used = 0;
	int count = 0;

	if (!directory)
		directory = opendir("/proc");
	if (!directory)
		return;
	rewinddir(directory);
	do {
		unsigned long long kb;
		long pid;

		entry = readdir(directory);
		pid = entry ? strtol(entry->d_name, NULL, 10) : 0;
		if (pid > 0 && !(pid < PIDS_KNOWN && is_kernel[pid])) {
			kb = resident_kb(entry->d_name);
			if (kb) {
				used += (size_t)snprintf(sizes + used, sizeof(sizes) - used,
							 "%s%ld,%llu", used ? "," : "", pid, kb);
				count++;
			}
		}
		if (used && (!entry || count == SIZES_LINE)) {
			say("{\"event\":\"sizes\",\"time_ns\":%llu,\"sizes\":[%s]}",
			    (unsigned long long)boottime_ns(), sizes);
			used = 0;
			count = 0;
		}
	} while (entry);
}

int run_watch(int argc, char **argv)
{
	struct sched_param priority = {.sched_priority = 1};
	uint64_t due_ns;

	if (take_options(argc, argv, table) != argc)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	/* As lmk-population: the record must be right while the device starves. */
	(void)set_adj(-1000);
	(void)mlockall(MCL_CURRENT | MCL_FUTURE);
	(void)sched_setscheduler(0, SCHED_FIFO, &priority);
	host_begin(lease_s, NULL);
	due_ns = boottime_ns();
	for (;;) {
		uint64_t now_ns = boottime_ns();

		if (now_ns >= due_ns) {
			say_sample();
			say_sizes();
			due_ns += (uint64_t)interval_ms * 1000000;
			/* Late by more than one: those are lost, and their times say so. */
			if (due_ns <= now_ns)
				due_ns = now_ns + (uint64_t)interval_ms * 1000000;
			continue;
		}
		if (!host_lives((int)((due_ns - now_ns) / 1000000) + 1))
			break;
	}
	say_sample();
	say("{\"event\":\"end\",\"time_ns\":%llu}", (unsigned long long)boottime_ns());
	return 0;
}
