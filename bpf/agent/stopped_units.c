// SPDX-License-Identifier: Apache-2.0
#include "stopped_units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exit_code.h"
#include "process.h"
#include "session_file.h"

/* The boot id, then a line for each: its name, a space, its cgroup. */
#define NOTE_BYTES (STOPPED_UNITS * (UNIT_NAME + UNIT_CGROUP) + 64)

static void note_path(char path[160], const char *dir)
{
	snprintf(path, 160, "%s/units-stopped", dir);
}

int stopped_units_note(const char *dir, const struct stopped_units *stopped)
{
	char path[160], temporary[170], boot_id[40], text[NOTE_BYTES];
	int fd, error = read_boot_id(boot_id);
	size_t length;

	if (error)
		return error;
	length = (size_t)snprintf(text, sizeof(text), "%s\n", boot_id);
	for (unsigned int i = 0; i < stopped->count; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s %s\n",
					   stopped->units[i].name, stopped->units[i].cgroup);
	note_path(path, dir);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text, length) != (ssize_t)length)
		error = errno ? -errno : -ENOSPC;
	close(fd);
	if (!error && rename(temporary, path))
		error = -errno;
	if (error)
		unlink(temporary);
	return error;
}

bool stopped_units_read(const char *dir, struct stopped_units *stopped)
{
	char path[160], boot_id[40], text[NOTE_BYTES], *line, *rest = text;

	stopped->count = 0;
	note_path(path, dir);
	if (read_small_file(path, text, sizeof(text)) < 0)
		return false;
	line = strsep(&rest, "\n");
	if (!read_boot_id(boot_id) && strcmp(line, boot_id)) {
		unlink(path);
		return false;
	}
	while ((line = strsep(&rest, "\n")) && stopped->count < STOPPED_UNITS) {
		char *cgroup = strchr(line, ' ');

		if (!cgroup || cgroup == line)
			continue;
		*cgroup++ = 0;
		snprintf(stopped->units[stopped->count].name, UNIT_NAME, "%s", line);
		snprintf(stopped->units[stopped->count].cgroup, UNIT_CGROUP, "%s", cgroup);
		stopped->count++;
	}
	return stopped->count != 0;
}

bool stopped_units_noted(const char *dir)
{
	struct stopped_units stopped;

	return stopped_units_read(dir, &stopped);
}

void stopped_units_forget(const char *dir)
{
	char path[160];

	note_path(path, dir);
	if (unlink(path) && errno != ENOENT)
		log_line("%s: %s", path, strerror(errno));
}

void stopped_units_names(struct stopped_units *stopped, char *names[STOPPED_UNITS + 1])
{
	for (unsigned int i = 0; i < stopped->count; i++)
		names[i] = stopped->units[i].name;
	names[stopped->count] = NULL;
}

void stopped_units_list(const struct stopped_units *stopped, char *text, size_t size)
{
	size_t length = 0;

	text[0] = 0;
	for (unsigned int i = 0; i < stopped->count && length < size; i++)
		length += (size_t)snprintf(text + length, size - length, "%s%s", i ? ", " : "",
					   stopped->units[i].name);
}

int stopped_units_restore(const char *dir, char *text, size_t size)
{
	char *names[STOPPED_UNITS + 1], why[224];
	struct stopped_units stopped;
	int error;

	if (!stopped_units_read(dir, &stopped))
		return 0;
	stopped_units_list(&stopped, text, size);
	stopped_units_names(&stopped, names);
	error = units_start(names, why, sizeof(why));
	if (error) {
		log_line("other killer: not back: %s", why);
		return error;
	}
	stopped_units_forget(dir);
	return 1;
}
