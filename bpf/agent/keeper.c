// SPDX-License-Identifier: Apache-2.0
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "exit_code.h"
#include "give_back.h"
#include "guardian.h"
#include "shared.h"
#include "start.h"

/* Agent and guardian hold the lock of `dir` while one of them lives. 0 or -errno. */
static int await_end(const char *dir)
{
	char path[160];
	int fd, error = 0;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_SH)) {
		if (errno != EINTR) {
			error = -errno;
			break;
		}
	}
	close(fd);
	return error;
}

int keeper_main(void)
{
	const struct shared *shared = shared_open();
	int error;

	/* Else the session would never be over. */
	close(FD_DIR_LOCK);
	close(FD_PINS_LOCK);
	if (!shared) {
		log_line("keeper: no session: %s", strerror(errno));
		return EXIT_USAGE;
	}
	become_daemon("lmk-keeper", shared->dir);
	error = await_end(shared->dir);
	if (error) {
		log_line("keeper: the lock of %s: %s", shared->dir, strerror(-error));
		return EXIT_BUG;
	}
	if (shared->give_back || !give_back_noted(shared->dir))
		return EXIT_OK;
	log_line("keeper: agent and guardian were both killed");
	return stop_main(shared->dir, STOP_LEFTOVERS_PATIENTLY);
}
