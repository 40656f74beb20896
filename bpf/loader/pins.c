// SPDX-License-Identifier: Apache-2.0
#include "pins.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/magic.h>

#include "assist/assist.h"

#define BPFFS	  "/sys/fs/bpf"
#define PATH_SIZE 256

static const char *const kinds[] = {"links", "programs", "maps"};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

void pin_path(char *path, size_t size, const char *dir, const char *kind, const char *name)
{
	snprintf(path, size, "%s/%s/%s", dir, kind, name);
}

static int make_folder(const char *path)
{
	return mkdir(path, 0700) && errno != EEXIST ? -errno : 0;
}

int pins_prepare(const char *dir)
{
	char path[PATH_SIZE];
	struct statfs fs;
	int error;

	if (statfs(BPFFS, &fs))
		return -errno;
	if ((unsigned long)fs.f_type != BPF_FS_MAGIC && mount("bpf", BPFFS, "bpf", 0, "mode=0700"))
		return -errno;
	error = make_folder(dir);
	for (size_t i = 0; i < KINDS && !error; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, kinds[i]);
		error = make_folder(path);
	}
	return error;
}

/* Unlinks what is in the folder; counts it only if `remove` is not set. */
static int each_pin(const char *dir, const char *kind, bool remove, unsigned int *found)
{
	char folder[PATH_SIZE], path[2 * PATH_SIZE];
	struct dirent *entry;
	int error = 0;
	DIR *stream;

	snprintf(folder, sizeof(folder), "%s/%s", dir, kind);
	stream = opendir(folder);
	if (!stream)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(stream))) {
		if (entry->d_name[0] == '.')
			continue;
		(*found)++;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (remove && unlink(path) && errno != ENOENT)
			error = -errno;
	}
	closedir(stream);
	if (remove && rmdir(folder) && errno != ENOENT && !error)
		error = -errno;
	return error;
}

bool pins_exist(const char *dir)
{
	unsigned int found = 0;

	for (size_t i = 0; i < KINDS; i++)
		each_pin(dir, kinds[i], false, &found);
	return found;
}

int pins_remove(const char *dir)
{
	unsigned int found = 0;
	int error = 0, result;

	for (size_t i = 0; i < KINDS; i++) {
		result = each_pin(dir, kinds[i], true, &found);
		if (result && !error)
			error = result;
	}
	if (rmdir(dir) && errno != ENOENT && !error)
		error = -errno;
	return error;
}

int pins_get(const char *dir, const char *kind, const char *name)
{
	char path[PATH_SIZE];
	int fd;

	pin_path(path, sizeof(path), dir, kind, name);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

int pins_run(const char *dir, struct lmk_call *call)
{
	struct assist assist = {.call = pins_get(dir, "programs", "lmk_call"), .iter = -1};
	int error;

	if (assist.call < 0)
		return assist.call;
	/* Only where the handlers cannot walk by themselves. */
	assist.walk = pins_get(dir, "links", "lmk_walk");
	assist_open_psi(&assist);
	error = assist_run(&assist, call);
	assist_close(&assist);
	if (assist.walk >= 0)
		close(assist.walk);
	close(assist.call);
	return error;
}
