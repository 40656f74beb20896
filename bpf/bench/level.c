// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench level: the plainest killer that does its work well. It looks at MemAvailable every
 * few milliseconds; below a share of MemTotal it kills who has the highest oom_score_adj, the
 * largest among these, has the kernel release the victim's memory at once, and waits for its
 * end before it looks again. What it cannot know makes the difference to others: stall, swap,
 * and what a kill will really free.
 *
 * As a daemon of its kind it is locked into memory and beyond the OOM killer. Nice -20 and not
 * SCHED_FIFO: releasing a victim's memory takes a CPU for long, and what was woken there would
 * wait for the end of it (64 against 244 ms lost in a burst).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "identity.h"
#include "lines.h"
#include "memory.h"
#include "options.h"

/* One that has not ended by then holds up nobody: as lmk's policy has it. */
#define EXIT_PATIENCE_MS 2000
/* 32 bits on all ABIs since 5.1; the C library of Debian 12 does not name it. */
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

static int64_t below_pct = 10, poll_ms = 10, floor_adj = 100;

static const struct bench_option table[] = {
	{"available-below-pct", &below_pct, NULL, 1, 90, "share of MemTotal to kill below (10)"},
	{"poll-ms", &poll_ms, NULL, 1, 10000, "how often to look (10)"},
	{"min-oom-score-adj", &floor_adj, NULL, 1, 1000, "nobody below dies (100)"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

static int read_proc(const char *pid, const char *file, char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%.16s/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, size - 1);
	close(fd);
	if (length <= 0)
		return -EIO;
	text[length] = '\0';
	return 0;
}

/* The pid to kill, or 0. */
static pid_t choose(void)
{
	long best_adj = floor_adj - 1, best_pages = 0;
	DIR *directory = opendir("/proc");
	struct dirent *entry;
	pid_t best = 0;

	if (!directory)
		return 0;
	while ((entry = readdir(directory))) {
		char text[128];
		long adj, pages;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		if (read_proc(entry->d_name, "oom_score_adj", text, sizeof(text)))
			continue;
		adj = strtol(text, NULL, 10);
		if (adj < floor_adj || adj < best_adj)
			continue;
		if (read_proc(entry->d_name, "statm", text, sizeof(text)) ||
		    sscanf(text, "%*s %ld", &pages) != 1 || pages <= 0)
			continue;
		if (adj > best_adj || pages > best_pages) {
			best = (pid_t)strtol(entry->d_name, NULL, 10);
			best_adj = adj;
			best_pages = pages;
		}
	}
	closedir(directory);
	return best;
}

static void kill_and_wait(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd end = {.fd = pidfd, .events = POLLIN};

	if (pidfd < 0)
		return; /* gone already */
	if (!syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0)) {
		/* ESRCH when it was quick to exit by itself: the memory is back, too. */
		(void)syscall(SYS_process_mrelease, pidfd, 0);
		(void)poll(&end, 1, EXIT_PATIENCE_MS);
	}
	close(pidfd);
}

int run_level(int argc, char **argv)
{
	struct timespec pause;
	uint64_t total_kb, available_kb;
	int error;

	if (take_options(argc, argv, table) != argc)
		return 2;
	(void)set_adj(-1000);
	(void)mlockall(MCL_CURRENT | MCL_FUTURE);
	(void)setpriority(PRIO_PROCESS, 0, -20);
	pause.tv_sec = poll_ms / 1000;
	pause.tv_nsec = poll_ms % 1000 * 1000000;
	for (;;) {
		pid_t victim;

		error = device_memory(&total_kb, &available_kb);
		if (error) {
			say_error(error, "cannot read /proc/meminfo");
			return 1;
		}
		victim = available_kb * 100 < total_kb * (uint64_t)below_pct ? choose() : 0;
		if (victim)
			kill_and_wait(victim);
		else
			(void)nanosleep(&pause, NULL);
	}
}
