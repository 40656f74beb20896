// SPDX-License-Identifier: Apache-2.0
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct shared *shared_create(void)
{
	struct shared *shared = NULL;
	int fd;

	fd = memfd_create("lmk-session", 0);
	if (fd < 0)
		return NULL;
	if (ftruncate(fd, sizeof(*shared)) || dup2(fd, FD_SHARED) < 0)
		goto out;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, FD_SHARED, 0);
	if (shared == MAP_FAILED) {
		shared = NULL;
		goto out;
	}
	shared->edition = SHARED_EDITION;
	shared->bytes = sizeof(*shared);
out:
	if (fd != FD_SHARED)
		close(fd);
	return shared;
}

struct shared *shared_open(void)
{
	struct shared *shared;
	struct stat stat;

	if (fstat(FD_SHARED, &stat))
		return NULL;
	if (stat.st_size != sizeof(*shared)) {
		errno = EPROTO;
		return NULL;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, FD_SHARED, 0);
	if (shared == MAP_FAILED)
		return NULL;
	if (shared->edition != SHARED_EDITION || shared->bytes != sizeof(*shared)) {
		munmap(shared, sizeof(*shared));
		errno = EPROTO;
		return NULL;
	}
	return shared;
}

void shared_keep_across_exec(void)
{
	/* FD_READY stays with the process that was started first. */
	for (int fd = FD_DIR_LOCK; fd <= FD_SHARED; fd++)
		fcntl(fd, F_SETFD, 0);
}

int shared_take_ready(void)
{
	int null;

	if (fcntl(FD_READY, F_GETFD) >= 0)
		return 1;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0 && null != FD_READY) {
		dup3(null, FD_READY, O_CLOEXEC);
		close(null);
	}
	return 0;
}

struct kill *first_kill(struct shared *shared,
			bool (*wanted)(const struct shared *shared, const struct kill *kill))
{
	struct kill *first = NULL;

	for (int i = 0; i < KILL_SLOTS; i++) {
		struct kill *kill = &shared->kills[i];

		if (wanted(shared, kill) && (!first || kill->event.kill_id < first->event.kill_id))
			first = kill;
	}
	return first;
}
