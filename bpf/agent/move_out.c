// SPDX-License-Identifier: Apache-2.0
#include "move_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "process.h"

/* The generic table's number, as those of process.c. */
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

/*
 * What one call moves. Kernels may let a call run on for the rest of a tick before somebody who
 * wakes up gets the CPU (PREEMPT_LAZY), so it is short: 50 us on a phone, 3 ms on an emulated CPU.
 */
#define CHUNK_BYTES (64UL * 1024)
/* After so much it is asked again whether there is room, and whether the app is still cached. */
#define ASK_BYTES (1024UL * 1024)

/* Whose memory is being moved. */
struct mover {
	pid_t pid;
	int pidfd;
	bool (*go_on)(pid_t pid, bool thoroughly);
	int error;
};

/* One mapping. False: no more of this process now. */
static bool move(struct mover *mover, unsigned long begin, unsigned long end)
{
	unsigned long asked = end; /* not yet */

	while (begin < end) {
		struct iovec piece = {.iov_base = (void *)begin, .iov_len = end - begin};
		bool thoroughly = asked == end || begin - asked >= ASK_BYTES;

		if (!mover->go_on(mover->pid, thoroughly))
			return false;
		if (thoroughly)
			asked = begin;
		if (piece.iov_len > CHUNK_BYTES)
			piece.iov_len = CHUNK_BYTES;
		if (syscall(SYS_process_madvise, mover->pidfd, &piece, 1UL, MADV_PAGEOUT, 0U) < 0) {
			if (errno == EINTR)
				continue;
			if (errno == ENOSYS || errno == EPERM || errno == ESRCH) {
				mover->error = -errno;
				return false;
			}
			/* EINVAL, ENOMEM: locked, or meanwhile unmapped. */
		}
		begin += piece.iov_len;
	}
	return true;
}

/* A line of /proc/PID/maps: private memory that no file is behind. */
static bool is_private(const char *line, unsigned long *begin, unsigned long *end)
{
	char access[5];
	unsigned long inode;

	return sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu", begin, end, access, &inode) == 4 &&
	       access[1] == 'w' && access[3] == 'p' && !inode;
}

static void move_all(struct mover *mover)
{
	static char text[4096 + 1];
	unsigned long begin, end;
	size_t have = 0;
	bool go_on = true;
	char path[32];
	ssize_t got;
	int maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", mover->pid);
	maps = open(path, O_RDONLY | O_CLOEXEC);
	if (maps < 0)
		return;
	while (go_on && (got = read(maps, text + have, sizeof(text) - 1 - have)) > 0) {
		char *line = text, *next;

		have += (size_t)got;
		text[have] = 0;
		while (go_on && (next = strchr(line, '\n'))) {
			*next = 0;
			if (is_private(line, &begin, &end))
				go_on = move(mover, begin, end);
			line = next + 1;
		}
		have -= (size_t)(line - text);
		memmove(text, line, have);
		if (have == sizeof(text) - 1)
			have = 0; /* no line is that long: a path that is */
	}
	close(maps);
}

__s64 move_out(pid_t pid, __u64 start_ticks, bool (*go_on)(pid_t pid, bool thoroughly))
{
	struct mover mover = {.pid = pid, .pidfd = pidfd_open(pid), .go_on = go_on};
	__u64 before_kb, after_kb, moved_kb = 0;

	if (mover.pidfd < 0)
		return 0;
	before_kb = process_private_kb(pid);
	/* The pid may be somebody else's by now: asked once its descriptor is held. */
	if (process_is(pid, start_ticks) && before_kb >= MOVE_OUT_LEAST_KB) {
		move_all(&mover);
		after_kb = process_private_kb(pid);
		if (after_kb < before_kb && process_is(pid, start_ticks))
			moved_kb = before_kb - after_kb;
	}
	close(mover.pidfd);
	return mover.error == -EPERM || mover.error == -ENOSYS ? mover.error : (__s64)moved_kb;
}
