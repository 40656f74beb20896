// SPDX-License-Identifier: Apache-2.0
#include "stopped_units.h"

#include <stdio.h>
#include <string.h>

#include "boot_note.h"
#include "exit_code.h"

#define NOTE "units-stopped"
/* A line for each: its name, a space, its cgroup. */
#define LINES_BYTES (STOPPED_UNITS * (UNIT_NAME + UNIT_CGROUP))

int stopped_units_note(const char *dir, const struct stopped_units *stopped)
{
	char lines[LINES_BYTES] = "";
	size_t length = 0;

	for (unsigned int i = 0; i < stopped->count; i++)
		length += (size_t)snprintf(lines + length, sizeof(lines) - length, "%s %s\n",
					   stopped->units[i].name, stopped->units[i].cgroup);
	return boot_note_write(dir, NOTE, lines);
}

bool stopped_units_read(const char *dir, struct stopped_units *stopped)
{
	char lines[LINES_BYTES], *line, *rest = lines;

	stopped->count = 0;
	if (!boot_note_read(dir, NOTE, lines, sizeof(lines)))
		return false;
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
	boot_note_forget(dir, NOTE);
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
