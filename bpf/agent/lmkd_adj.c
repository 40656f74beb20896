// SPDX-License-Identifier: Apache-2.0
#include "lmkd_adj.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h; in field 9 of /proc/PID/stat */

static bool is_alive(const struct lmkd_record *record, void *context)
{
	struct process_stat stat;

	(void)context;
	return !process_stat(record->pid, &stat) && stat.start_ticks == record->start_ticks &&
	       stat.state != 'Z' && stat.state != 'X';
}

/* /proc has a directory for each thread as well, though it does not list it. */
static enum lmkd_refusal check_leader(__s32 pid)
{
	int pidfd = pidfd_open(pid);

	if (pidfd >= 0) {
		close(pidfd);
		return LMKD_TAKEN;
	}
	/* Of a thread: -EINVAL, in later kernels -ENOENT. */
	return pidfd == -EINVAL || pidfd == -ENOENT ? LMKD_REFUSE_THREAD : LMKD_REFUSE_GONE;
}

static enum lmkd_refusal write_adj(int fd, __s32 adj)
{
	char text[8];
	int length = snprintf(text, sizeof(text), "%d", adj);

	if (write(fd, text, (size_t)length) == length)
		return LMKD_TAKEN;
	return errno == ESRCH ? LMKD_REFUSE_GONE : LMKD_REFUSE_WRITE;
}

/* `fd` is its oom_score_adj, -1 where that is not to be written. */
static enum lmkd_refusal set_adj(struct lmkd_registry *registry, __s32 owner,
				 const struct lmkd_process *process, int fd)
{
	const struct lmkd_record *known = lmkd_find(registry, process->pid);
	enum lmkd_refusal refusal = LMKD_TAKEN;
	struct process_stat stat;

	if (process_stat(process->pid, &stat) || stat.state == 'Z' || stat.state == 'X')
		return LMKD_REFUSE_GONE;
	if (stat.flags & PF_KTHREAD)
		return LMKD_REFUSE_KERNEL;
	if (!known || known->start_ticks != stat.start_ticks)
		refusal = check_leader(process->pid);
	if (!refusal && !lmkd_may_put(registry, owner, process->pid, stat.start_ticks))
		refusal = LMKD_REFUSE_OWNER;
	/*
	 * Written also where the record says that it has that value: others may write it too, and
	 * that it was told again is what the order of victims goes by, here as in lmkd.
	 */
	if (!refusal && fd >= 0)
		refusal = write_adj(fd, process->adj);
	if (refusal)
		return refusal;
	return lmkd_put(registry, owner, process, stat.start_ticks, is_alive, NULL);
}

enum lmkd_refusal lmkd_set_adj(struct lmkd_registry *registry, __s32 owner,
			       const struct lmkd_process *process)
{
	enum lmkd_refusal refusal;
	char path[40];
	int fd = -1;

	/*
	 * Opened first: a descriptor in /proc stays with the process it was opened for, and writing
	 * to it fails once that is gone. If it succeeds, the pid was that process's all the time,
	 * so what is asked about the pid in between is about the same one.
	 */
	if (!process->for_us_only) {
		snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", process->pid);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			return errno == ENOENT || errno == ESRCH ? LMKD_REFUSE_GONE
								 : LMKD_REFUSE_WRITE;
	}
	refusal = set_adj(registry, owner, process, fd);
	if (fd >= 0)
		close(fd);
	return refusal;
}
