// SPDX-License-Identifier: Apache-2.0
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

extern char **environ;

/* In the child: only system calls, the agent has threads. */
static void become(char *const words[], bool with_errors, int out)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(with_errors ? out : null, STDERR_FILENO);
	/* The session's locks must not live on in a child that hangs. */
	if (syscall(SYS_close_range, 3, ~0U, 0)) {
		for (int fd = 3; fd < 1024; fd++) /* before 5.9 */
			close(fd);
	}
	execve(words[0], words, environ);
	_exit(127);
}

/* Until its end of output, or patience is over. Bytes, or -ETIMEDOUT. */
static ssize_t listen_to(int fd, __u64 patience_ns, char *text, size_t size)
{
	__u64 end_ns = boottime_ns() + patience_ns;
	size_t have = 0;

	for (;;) {
		struct pollfd heard = {.fd = fd, .events = POLLIN};
		__u64 now_ns = boottime_ns();
		char rest[64];
		ssize_t got;

		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		if (poll(&heard, 1, (int)((end_ns - now_ns) / NSEC_PER_MSEC) + 1) <= 0)
			continue;
		got = have < size - 1 ? read(fd, text + have, size - 1 - have)
				      : read(fd, rest, sizeof(rest));
		if (got < 0 && errno != EINTR)
			return -errno;
		if (!got)
			break;
		if (got > 0 && have < size - 1)
			have += (size_t)got;
	}
	text[have] = 0;
	return (ssize_t)have;
}

int program_run(char *const words[], __u64 patience_ns, bool with_errors, char *text, size_t size)
{
	int out[2], status = 0;
	ssize_t length;
	pid_t pid;

	if (access(words[0], X_OK))
		return -errno;
	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		int error = -errno;

		close(out[0]);
		close(out[1]);
		return error;
	}
	if (!pid)
		become(words, with_errors, out[1]);
	close(out[1]);
	length = listen_to(out[0], patience_ns, text, size);
	close(out[0]);
	if (length < 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (length < 0)
		return (int)length;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPERM;
}
