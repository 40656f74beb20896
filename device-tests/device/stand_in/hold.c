// SPDX-License-Identifier: Apache-2.0
// Keeps a process that is killed from ending, for as long as a test wants to look.
//
//     hold PID FILE TEXT      returns once it has hold of it
//
// When the process is about to end it stops (PTRACE_EVENT_EXIT); it may go on when FILE has TEXT.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static int has_text(const char *path, const char *text)
{
	static char bytes[1 << 20];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, bytes, sizeof(bytes) - 1);

	if (fd >= 0)
		close(fd);
	bytes[length > 0 ? length : 0] = 0;
	return strstr(bytes, text) != NULL;
}

int main(int count, char **words)
{
	int ready[2], pid;
	char byte = 0;

	if (count != 4 || pipe2(ready, O_CLOEXEC))
		return 2;
	pid = atoi(words[1]);
	if (fork()) {
		close(ready[1]);
		return read(ready[0], &byte, 1) == 1 ? 0 : 1;
	}
	setsid();
	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)PTRACE_O_TRACEEXIT))
		return 1;
	for (int fd = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC); fd < 3; fd++)
		dup2(null, fd);
	if (write(ready[1], &byte, 1) != 1)
		return 1;
	close(ready[1]);
	if (waitpid(pid, NULL, 0) != pid)
		return 1;
	while (!has_text(words[2], words[3]))
		usleep(5000);
	return 0; /* who traced it is gone: it goes on */
}
