// SPDX-License-Identifier: Apache-2.0
#include "process_scan.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int lmk_find_process(const char *name)
{
	char path[64], target[256];
	struct dirent *entry;
	const char *base;
	int found = 0;
	ssize_t length;
	DIR *proc = opendir("/proc");

	if (!proc)
		return 0;
	while (!found && (entry = readdir(proc))) {
		int pid = atoi(entry->d_name);

		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/exe", pid);
		length = readlink(path, target, sizeof(target) - 1);
		if (length <= 0)
			continue;
		target[length] = '\0';
		base = strrchr(target, '/');
		if (base && strcmp(base + 1, name) == 0)
			found = pid;
	}
	closedir(proc);
	return found;
}
