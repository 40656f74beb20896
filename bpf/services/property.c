// SPDX-License-Identifier: Apache-2.0
// Properties as the guest's getprop and setprop have them: a file for each.
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "services.h"

void property_set(const char *name, const char *format, ...)
{
	char path[160], partial[160];
	va_list arguments;
	FILE *file;

	snprintf(path, sizeof(path), PROPERTIES "/%s", name);
	snprintf(partial, sizeof(partial), PROPERTIES "/.services");
	file = fopen(partial, "we");
	if (!file) {
		log_event("property %s: cannot be written", name);
		return;
	}
	va_start(arguments, format);
	vfprintf(file, format, arguments);
	va_end(arguments);
	fputc('\n', file);
	/* A reader sees the old value or the new one, never half of it. */
	if (fclose(file) || rename(partial, path))
		log_event("property %s: cannot be written", name);
}

void property_get(const char *name, char value[PROPERTY_VALUE])
{
	char path[160];
	FILE *file;

	value[0] = 0;
	snprintf(path, sizeof(path), PROPERTIES "/%s", name);
	file = fopen(path, "re");
	if (!file)
		return;
	if (!fgets(value, PROPERTY_VALUE, file))
		value[0] = 0;
	value[strcspn(value, "\n")] = 0;
	fclose(file);
}

int properties_watch(void)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

	/* Whoever sets one renames a file into its place. */
	if (fd >= 0 && inotify_add_watch(fd, PROPERTIES, IN_MOVED_TO) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

void properties_read(int watch)
{
	char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t got;

	while ((got = read(watch, buffer, sizeof(buffer))) > 0) {
		for (char *at = buffer; at < buffer + got;) {
			const struct inotify_event *event = (const void *)at;

			if (event->mask & IN_Q_OVERFLOW)
				log_event("properties were set faster than they could be read");
			else if (event->len && event->name[0] != '.' &&
				 strncmp(event->name, "init.svc.", 9) != 0)
				property_changed(
					event->name); /* a service's state says so itself */
			at += sizeof(*event) + event->len;
		}
	}
	if (got < 0 && errno != EAGAIN)
		log_event("properties: %s", strerror(errno));
}
