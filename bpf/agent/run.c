// SPDX-License-Identifier: Apache-2.0
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exit_code.h"
#include "process.h"
#include "shared.h"

/* sd_notify(3): one datagram to the socket that the environment names; '@' is the NUL of an
 * abstract one. */
static void notify(const char *what)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	socklen_t length;
	int fd;

	if (!path || !path[0] || strlen(path) >= sizeof(address.sun_path))
		return;
	strcpy(address.sun_path, path);
	length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
	if (path[0] == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    sendto(fd, what, strlen(what), MSG_NOSIGNAL, (struct sockaddr *)&address, length) < 0)
		log_line("run: %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* A child that ends with the session: agent and guardian hold the lock while one of them lives. */
static pid_t wait_in_child(const char *dir)
{
	char path[128];
	pid_t pid;
	int fd;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		fail(EXIT_BUG, "%s: %s", path, strerror(errno));
	pid = fork();
	if (pid < 0)
		fail(EXIT_TRANSIENT, "fork: %s", strerror(errno));
	if (!pid) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (flock(fd, LOCK_SH) && errno == EINTR)
			;
		_exit(0);
	}
	close(fd);
	return pid;
}

/* Why it ended; what nobody gave back any more is given back first. */
static int conclude(const struct start_options *options, char **words)
{
	const struct shared *shared = shared_open();
	__u32 reason = shared ? shared->give_back : GIVE_BACK_NONE;
	sigset_t none;

	switch (reason) {
	case GIVE_BACK_LEASE:
		/* A host borrowed it: it is this init's again. */
		notify("STATUS=the lease of whoever took over is over: beginning anew");
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execv("/proc/self/exe", words);
		log_line("run: %s", strerror(errno));
		return EXIT_BUG;
	case GIVE_BACK_NONE:
		log_line("run: agent and guardian were both killed");
		stop_main(options->dir, STOP_LEFTOVERS);
		return EXIT_TRANSIENT;
	case GIVE_BACK_AGENT_LOST:
		log_line("run: the agent is lost");
		return EXIT_TRANSIENT;
	default:
		return EXIT_OK;
	}
}

int run_main(const struct start_options *options, char **words)
{
	sigset_t signals;
	pid_t session;
	int code;

	code = start_main(options);
	if (code)
		return code;
	fflush(stdout);
	/* Only now: agent and guardian take the mask along. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (write_small_file("/proc/self/oom_score_adj", "-1000"))
		log_line("run: oom_score_adj: %s", strerror(errno));
	session = wait_in_child(options->dir);
	notify("READY=1");
	for (;;) {
		int number = sigwaitinfo(&signals, NULL);

		if (number == SIGTERM || number == SIGINT) {
			notify("STOPPING=1");
			return stop_main(options->dir, STOP_SESSION);
		}
		/* Other children are what `start` left of itself. */
		while (number == SIGCHLD && (code = waitpid(-1, NULL, WNOHANG)) > 0)
			if (code == session)
				return conclude(options, words);
	}
}
