// SPDX-License-Identifier: Apache-2.0
#include "protect.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemons.h"
#include "event_source.h"
#include "process.h"

/* pidfds of the daemons, so that their end is heard without asking. */
static struct {
	pid_t pid;
	int fd;
} watched[DAEMONS_MAX];

/* The lmkd that runs; 0: none was found. */
static struct {
	pid_t pid;
	__u64 start_ticks;
} lmkd;

bool protect_is_lmkd(pid_t pid, __u64 start_ticks)
{
	return pid && pid == lmkd.pid && start_ticks == lmkd.start_ticks;
}

bool protect_lmkd_runs(void)
{
	return lmkd.pid != 0;
}

static void watch(const struct daemon_process *daemons, unsigned int count, int epoll_fd)
{
	for (unsigned int i = 0; i < DAEMONS_MAX; i++) {
		struct epoll_event event = {.events = EPOLLIN,
					    .data.u64 = event_source(SOURCE_PROTECTED, i)};
		pid_t pid = i < count ? daemons[i].pid : 0;

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
	struct daemon_process daemons[DAEMONS_MAX];
	int own[2] = {agent_pid, guardian_pid}, error = 0;
	struct process_stat process;
	__s32 key, next, *after = NULL;
	unsigned int count;

	count = daemons_find(daemons);
	*complete = false;
	lmkd.pid = 0;
	for (unsigned int i = 0; i < count; i++) {
		if (!daemons[i].adbd) {
			lmkd.pid = daemons[i].pid;
			lmkd.start_ticks = daemons[i].start_ticks;
		}
		error = allow(pins, daemons[i].pid, daemons[i].start_ticks);
		if (error)
			return error;
		if (daemons[i].adbd)
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

		for (unsigned int i = 0; i < count; i++)
			keep = keep || next == daemons[i].pid;
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
	watch(daemons, count, epoll_fd);
	return 0;
}
