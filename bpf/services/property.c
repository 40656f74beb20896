// SPDX-License-Identifier: Apache-2.0
// Properties as the guest's getprop and setprop have them: a file for each.
#include <stdarg.h>
#include <stdio.h>

#include "services.h"

void property_set(const char *name, const char *format, ...)
{
	char path[160], partial[160];
	va_list arguments;
	FILE *file;

	snprintf(path, sizeof(path), "/run/properties/%s", name);
	snprintf(partial, sizeof(partial), "/run/properties/.services");
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
