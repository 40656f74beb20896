// SPDX-License-Identifier: Apache-2.0
// A process that gets the pid of one that is gone.
//
//     recycled PID UID      returns once it is there; it sleeps, with oom_score_adj 0
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void live(int uid, int ready)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	char byte = 0;

	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(1);
	close(fd);
	setsid();
	for (int null = open("/dev/null", O_RDWR | O_CLOEXEC), i = 0; i < 3; i++)
		dup2(null, i);
	if (setgid((gid_t)uid) || setuid((uid_t)uid) || write(ready, &byte, 1) != 1)
		_exit(1);
	close(ready);
	for (;;)
		pause();
}

int main(int count, char **words)
{
	struct clone_args how = {.exit_signal = SIGCHLD, .set_tid_size = 1};
	int ready[2];
	char byte;
	pid_t wanted;
	long pid;

	if (count != 3 || pipe2(ready, O_CLOEXEC))
		return 2;
	wanted = atoi(words[1]);
	how.set_tid = (uint64_t)(uintptr_t)&wanted;
	pid = syscall(SYS_clone3, &how, sizeof(how));
	if (pid < 0) {
		fprintf(stderr, "recycled: pid %d: %s\n", wanted, strerror(errno));
		return 1;
	}
	if (!pid)
		live(atoi(words[2]), ready[1]);
	close(ready[1]);
	return read(ready[0], &byte, 1) == 1 ? 0 : 1;
}
