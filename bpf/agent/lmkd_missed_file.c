// SPDX-License-Identifier: Apache-2.0
#include "lmkd_missed_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"
#include "session_file.h"

#define PATH_BYTES 160

struct content {
	char boot_id[40];
	struct lmkd_missed missed;
};

static struct content content;

static void file_path(char path[PATH_BYTES], const char *dir)
{
	snprintf(path, PATH_BYTES, "%s/lmkd-missed", dir);
}

int lmkd_missed_save(const char *dir, const struct lmkd_missed *missed)
{
	char path[PATH_BYTES];
	int error;

	if (!missed->next_order)
		return 0;
	error = read_boot_id(content.boot_id);
	if (error)
		return error;
	content.missed = *missed;
	file_path(path, dir);
	return replace_file(path, (const char *)&content, sizeof(content));
}

/* False: not there, or by another build. */
static bool read_content(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat stat;
	bool whole;

	if (fd < 0)
		return false;
	whole = !fstat(fd, &stat) && stat.st_size == sizeof(content) &&
		read(fd, &content, sizeof(content)) == sizeof(content);
	close(fd);
	return whole;
}

void lmkd_missed_load(const char *dir, struct lmkd_missed *missed)
{
	char path[PATH_BYTES], boot_id[40];

	file_path(path, dir);
	if (read_content(path) && !read_boot_id(boot_id) &&
	    !strncmp(content.boot_id, boot_id, sizeof(boot_id)))
		*missed = content.missed;
	unlink(path);
}
