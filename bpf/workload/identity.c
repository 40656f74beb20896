// SPDX-License-Identifier: Apache-2.0
#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define COMM_LEN 15
#define PAD_LEN	 (NAME_MAX_LEN + 1)

int name_is_valid(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= NAME_MAX_LEN &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			    "0123456789._:-") == length;
}

void set_name(int argc, char **argv, const char *name)
{
	char kept[NAME_MAX_LEN + 1];
	size_t room = (size_t)(argv[argc - 1] + strlen(argv[argc - 1]) + 1 - argv[0]);
	size_t length;

	/* `name` may itself be one of the arguments that are overwritten. */
	snprintf(kept, sizeof(kept), "%s", name);
	length = strlen(kept);
	(void)prctl(PR_SET_NAME, length > COMM_LEN ? kept + length - COMM_LEN : kept);
	memset(argv[0], 0, room);
	memcpy(argv[0], kept, length < room ? length : room - 1);
}

int room_for_name(int argc, char **argv)
{
	static char pad[PAD_LEN + 1];
	char *padded[64];

	if (argc > 1 && strlen(argv[argc - 1]) == PAD_LEN && argv[argc - 1][0] == ' ')
		return 0;
	if (argc > 60)
		return -E2BIG;
	memset(pad, ' ', PAD_LEN);
	for (int i = 0; i < argc; i++)
		padded[i] = argv[i];
	padded[argc] = pad;
	padded[argc + 1] = NULL;
	execv("/proc/self/exe", padded);
	return -errno;
}

int set_adj(int adj)
{
	return set_adj_of(getpid(), adj);
}

int set_adj_of(pid_t pid, int adj)
{
	char path[64], text[16];
	int length = snprintf(text, sizeof(text), "%d", adj);
	int error = 0, fd;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)length) != length)
		error = -errno;
	close(fd);
	return error;
}

int set_uid(uid_t uid)
{
	if (uid == getuid() && uid == geteuid())
		return 0;
	if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
		return -errno;
	return 0;
}

int start_ticks(pid_t pid, uint64_t *ticks)
{
	char path[64], text[1024];
	unsigned long long value;
	ssize_t length;
	char *rest;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return -EIO;
	text[length] = '\0';
	/* comm may hold spaces and brackets: field 3 begins after the last bracket. */
	rest = strrchr(text, ')');
	if (!rest ||
	    sscanf(rest + 1,
		   " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
		   "%llu",
		   &value) != 1)
		return -EPROTO;
	*ticks = value;
	return 0;
}

uint64_t boottime_ns(void)
{
	struct timespec now;

	/* Fails only for a clock that does not exist; CLOCK_BOOTTIME does since 2.6.39. */
	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
