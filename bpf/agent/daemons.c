// SPDX-License-Identifier: Apache-2.0
#include "daemons.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"

/*
 * Where the system keeps its own daemons; nothing an app can write lies below. (Debian's adbd,
 * Android's by release, and lmkd's.)
 */
static const char *const executables[] = {
	"/apex/com.android.adbd/bin/adbd",
	"/system/bin/adbd",
	"/sbin/adbd",
	"/usr/bin/adbd",
	"/usr/sbin/adbd",
	"/usr/lib/android-sdk/platform-tools/adbd",
	"/system/bin/lmkd",
};

struct search {
	struct daemon_process *found;
	unsigned int count;
};

static int examine(pid_t pid, void *context)
{
	struct search *search = context;
	char link[32], executable[128];
	struct process_stat process;
	struct stat file;
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/%d/exe", pid);
	length = readlink(link, executable, sizeof(executable) - 1);
	if (length <= 0)
		return 0;
	executable[length] = 0;
	for (size_t i = 0; i < sizeof(executables) / sizeof(*executables); i++) {
		if (strcmp(executable, executables[i]))
			continue;
		/* The file itself, not what now has its name: root's, and only root may write it.
		 */
		if (stat(link, &file) || file.st_uid != 0 || file.st_mode & (S_IWGRP | S_IWOTH) ||
		    process_stat(pid, &process) || process.ppid != 1)
			continue;
		search->found[search->count++] = (struct daemon_process){
			.pid = pid,
			.start_ticks = process.start_ticks,
			.adbd = strstr(executable, "/adbd") != NULL,
		};
		break;
	}
	return search->count == DAEMONS_MAX;
}

unsigned int daemons_find(struct daemon_process found[DAEMONS_MAX])
{
	struct search search = {.found = found};

	process_each(examine, &search);
	return search.count;
}

bool daemons_find_lmkd(struct daemon_process *lmkd)
{
	struct daemon_process found[DAEMONS_MAX];
	unsigned int count = daemons_find(found);

	for (unsigned int i = 0; i < count; i++) {
		if (!found[i].adbd) {
			*lmkd = found[i];
			return true;
		}
	}
	return false;
}
