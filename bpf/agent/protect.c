// SPDX-License-Identifier: Apache-2.0
#include "protect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "event_source.h"
#include "exit_code.h"
#include "process.h"

#define DAEMONS_MAX 4

struct found {
	pid_t pid;
	__u64 start_ticks;
	bool adbd;
};

struct search {
	struct found daemons[DAEMONS_MAX];
	unsigned int count;
};

/* pidfds of the daemons, so that their end is heard without asking. */
static struct {
	pid_t pid;
	int fd;
} watched[DAEMONS_MAX];

/*
 * Where the system keeps its own daemons; nothing an app can write lies below. (Debian's adbd,
 * Android's by release, and lmkd's.)
 */
static const char *const executables[] = {
	"/apex/com.android.adbd/bin/adbd",
	"/system/bin/adbd",
	"/sbin/adbd",
	"/usr/bin/adbd",
	"/usr/sbin/adbd",
	"/usr/lib/android-sdk/platform-tools/adbd",
	"/system/bin/lmkd",
};

/* The lmkd that runs; 0: none was found. */
static struct {
	pid_t pid;
	__u64 start_ticks;
} lmkd;

bool protect_is_lmkd(pid_t pid, __u64 start_ticks)
{
	return pid && pid == lmkd.pid && start_ticks == lmkd.start_ticks;
}

static int examine(pid_t pid, void *context)
{
	struct search *search = context;
	char link[32], executable[128];
	struct process_stat process;
	struct stat file;
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	length = readlink(link, executable, sizeof(executable) - 1);
	if (length <= 0)
		return 0;
	executable[length] = 0;
	for (size_t i = 0; i < sizeof(executables) / sizeof(*executables); i++) {
		if (strcmp(executable, executables[i]))
			continue;
		/* The file itself, not what now has its name: root's, and only root may write it.
		 */
		if (stat(link, &file) || file.st_uid != 0 || file.st_mode & (S_IWGRP | S_IWOTH) ||
		    process_stat(pid, &process) || process.ppid != 1)
			continue;
		search->daemons[search->count++] = (struct found){
			.pid = pid,
			.start_ticks = process.start_ticks,
			.adbd = strstr(executable, "/adbd") != NULL,
		};
		break;
	}
	return search->count == DAEMONS_MAX;
}

static void watch(const struct search *search, int epoll_fd)
{
	for (unsigned int i = 0; i < DAEMONS_MAX; i++) {
		struct epoll_event event = {.events = EPOLLIN,
					    .data.u64 = event_source(SOURCE_PROTECTED, i)};
		pid_t pid = i < search->count ? search->daemons[i].pid : 0;

		/* The old pidfd goes even for the same pid: it may be another process by now. */
		if (watched[i].pid)
			close(watched[i].fd);
		watched[i].pid = 0;
		if (!pid)
			continue;
		watched[i].fd = pidfd_open(pid);
		if (watched[i].fd < 0)
			continue;
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watched[i].fd, &event)) {
			close(watched[i].fd);
			continue;
		}
		watched[i].pid = pid;
	}
}

static int allow(const struct pins *pins, pid_t pid, __u64 start_ticks)
{
	struct lmk_protected value = {.start_ns = start_ticks * 10000000ULL};
	__s32 key = pid;

	return bpf_map_set(pins->protected, &key, &value);
}

int protect_refresh(const struct pins *pins, int agent_pid, int guardian_pid, int epoll_fd,
		    bool *complete)
{
	struct search search = {.count = 0};
	int own[2] = {agent_pid, guardian_pid}, error = 0;
	struct process_stat process;
	__s32 key, next, *after = NULL;

	process_each(examine, &search);
	*complete = false;
	lmkd.pid = 0;
	for (unsigned int i = 0; i < search.count; i++) {
		if (!search.daemons[i].adbd) {
			lmkd.pid = search.daemons[i].pid;
			lmkd.start_ticks = search.daemons[i].start_ticks;
		}
		error = allow(pins, search.daemons[i].pid, search.daemons[i].start_ticks);
		if (error)
			return error;
		if (search.daemons[i].adbd)
			*complete = true;
	}
	for (int i = 0; i < 2; i++) {
		if (own[i] <= 0 || process_stat(own[i], &process))
			continue;
		error = allow(pins, own[i], process.start_ticks);
		if (error)
			return error;
	}
	/* New ones first, then out with the old: nobody is unprotected in between. */
	while (bpf_map_next(pins->protected, after, &next) == 0) {
		bool keep = next == agent_pid || next == guardian_pid;

		for (unsigned int i = 0; i < search.count; i++)
			keep = keep || next == search.daemons[i].pid;
		if (keep) {
			key = next;
			after = &key;
			continue;
		}
		/* Deleting loses the place: begin again; what stays is at most six. */
		if (bpf_map_remove(pins->protected, &next))
			break;
		after = NULL;
	}
	watch(&search, epoll_fd);
	return 0;
}
