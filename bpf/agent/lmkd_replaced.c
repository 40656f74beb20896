// SPDX-License-Identifier: Apache-2.0
#include "lmkd_replaced.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exit_code.h"
#include "lmkd_service.h"
#include "process.h"
#include "session_file.h"

static void note_path(char path[160], const char *dir)
{
	snprintf(path, 160, "%s/lmkd-stopped", dir);
}

int lmkd_replaced_note(const char *dir)
{
	char path[160], boot_id[40];
	int fd, error = read_boot_id(boot_id);

	if (error)
		return error;
	note_path(path, dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, boot_id, strlen(boot_id)) != (ssize_t)strlen(boot_id)) {
		error = errno ? -errno : -ENOSPC;
		unlink(path);
	}
	close(fd);
	return error;
}

bool lmkd_replaced(const char *dir)
{
	char path[160], noted[40], boot_id[40];

	note_path(path, dir);
	if (read_small_file(path, noted, sizeof(noted)) < 0)
		return false;
	/* Rather once too often started than never: a note that says less counts too. */
	if (noted[0] && !read_boot_id(boot_id) && strcmp(noted, boot_id)) {
		unlink(path);
		return false;
	}
	return true;
}

void lmkd_replaced_forget(const char *dir)
{
	char path[160];

	note_path(path, dir);
	if (unlink(path) && errno != ENOENT)
		log_line("%s: %s", path, strerror(errno));
}

int lmkd_restore(const char *dir, __u64 *answered_ns)
{
	int error, start_error;

	*answered_ns = 0;
	if (!lmkd_replaced(dir))
		return 0;
	start_error = lmkd_service_start();
	if (start_error)
		log_line("lmkd: setprop ctl.start lmkd: %s", strerror(-start_error));
	/* Asked all the same: somebody else may have started it. */
	error = lmkd_service_wait(answered_ns);
	if (error) {
		log_line("lmkd: no answer on " LMKD_SOCKET ": %s", strerror(-error));
		return start_error ? start_error : error;
	}
	lmkd_replaced_forget(dir);
	return 0;
}
