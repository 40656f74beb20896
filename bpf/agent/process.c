// SPDX-License-Identifier: Apache-2.0
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Absent from bookworm's headers for some ABIs. The generic table has the same numbers. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

ssize_t read_small_file(const char *path, char *text, size_t size)
{
	size_t have = 0;
	ssize_t got;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		got = read(fd, text + have, size - 1 - have);
		if (got > 0)
			have += (size_t)got;
	} while ((got > 0 && have < size - 1) || (got < 0 && errno == EINTR));
	if (got < 0)
		got = -errno;
	close(fd);
	if (got < 0)
		return got;
	text[have] = 0;
	return (ssize_t)have;
}

int replace_file(const char *path, const char *text, size_t length)
{
	char temporary[192];
	int fd, error = 0;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length)
		error = errno ? -errno : -ENOSPC;
	close(fd);
	if (!error && rename(temporary, path))
		error = -errno;
	if (error)
		unlink(temporary);
	return error;
}

int write_small_file(const char *path, const char *text)
{
	size_t length = strlen(text);
	int fd, error = 0;

	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length)
		error = errno ? -errno : -EIO;
	close(fd);
	return error;
}

int process_stat(pid_t pid, struct process_stat *stat)
{
	char path[32], text[512], *cursor;
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	length = read_small_file(path, text, sizeof(text));
	if (length < 0)
		return (int)length;
	/* comm may hold spaces and parentheses: the last ')' ends it. */
	cursor = strrchr(text, ')');
	if (!cursor || cursor[1] != ' ')
		return -EPROTO;
	cursor += 2; /* field 3 */
	stat->state = *cursor;
	for (int field = 3; field < 22; field++) {
		cursor = strchr(cursor, ' ');
		if (!cursor)
			return -EPROTO;
		cursor++;
		if (field == 3)
			stat->ppid = (pid_t)strtol(cursor, NULL, 10);
		else if (field == 8)
			stat->flags = (__u32)strtoul(cursor, NULL, 10);
	}
	stat->start_ticks = strtoull(cursor, NULL, 10);
	return 0;
}

bool process_is(pid_t pid, __u64 start_ticks)
{
	struct process_stat stat;

	return process_stat(pid, &stat) == 0 && stat.start_ticks == start_ticks;
}

int process_command(pid_t pid, char name[PROCESS_NAME])
{
	char path[32];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	length = read_small_file(path, name, PROCESS_NAME);
	if (length < 0) {
		name[0] = 0;
		return (int)length;
	}
	/* What a process calls itself is untrusted: one line of printable bytes, or UTF-8. */
	for (char *byte = name; *byte; byte++) {
		if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
			*byte = '?';
	}
	return 0;
}

int process_oom_score_adj(pid_t pid)
{
	char path[40], text[16];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	length = read_small_file(path, text, sizeof(text));
	if (length < 0)
		return (int)length - 10000;
	return (int)strtol(text, NULL, 10);
}

__u64 process_private_kb(pid_t pid)
{
	char path[32], text[96];
	unsigned long resident, shared;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	if (read_small_file(path, text, sizeof(text)) <= 0 ||
	    sscanf(text, "%*u %lu %lu", &resident, &shared) != 2 || shared > resident)
		return 0;
	return (resident - shared) * (__u64)sysconf(_SC_PAGESIZE) / 1024;
}

/* As getdents64(2) writes it. */
struct directory_entry {
	__u64 inode;
	__s64 offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

int process_each(int (*each)(pid_t pid, void *context), void *context)
{
	/* readdir() would allocate. */
	static _Thread_local char entries[4096] __attribute__((aligned(8)));
	int fd, result = 0;

	fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		long got = syscall(SYS_getdents64, fd, entries, sizeof(entries));

		if (got <= 0) {
			result = got < 0 ? -errno : 0;
			goto out;
		}
		for (long at = 0; at < got;) {
			struct directory_entry *entry = (void *)(entries + at);

			at += entry->length;
			if (entry->name[0] < '1' || entry->name[0] > '9')
				continue;
			result = each((pid_t)strtol(entry->name, NULL, 10), context);
			if (result)
				goto out;
		}
	}
out:
	close(fd);
	return result;
}

int pidfd_open(pid_t pid)
{
	long fd = syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : (int)fd;
}

int pidfd_kill(int pidfd, int signal_number)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0) ? -errno : 0;
}

int pidfd_release_memory(int pidfd)
{
	return syscall(SYS_process_mrelease, pidfd, 0) ? -errno : 0;
}
