// SPDX-License-Identifier: Apache-2.0
#include "lines.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUT_MAX_LEN 1024

static void write_all(const char *text, size_t length)
{
	while (length) {
		ssize_t done = write(STDOUT_FILENO, text, length);

		if (done < 0 && errno == EINTR)
			continue;
		/* No reader, no reason to go on: memory held for nobody is a leak. */
		if (done < 0)
			_exit(1);
		text += done;
		length -= (size_t)done;
	}
}

void say(const char *format, ...)
{
	char text[OUT_MAX_LEN];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text) - 1, format, arguments);
	va_end(arguments);
	if (length < 0)
		return;
	if (length > (int)sizeof(text) - 2)
		length = (int)sizeof(text) - 2;
	text[length] = '\n';
	write_all(text, (size_t)length + 1);
}

void say_error(int error, const char *format, ...)
{
	char text[OUT_MAX_LEN / 2];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	/* Text that came from outside may hold what JSON does not. */
	for (char *at = text; *at; at++) {
		if (*at == '"' || *at == '\\')
			*at = '\'';
		else if ((unsigned char)*at < 0x20 || (unsigned char)*at > 0x7e)
			*at = '?';
	}
	say("{\"event\":\"error\",\"message\":\"%s%s%s\"}", text, error ? ": " : "",
	    error ? strerror(-error) : "");
}

int read_lines(void (*take)(char *line))
{
	static char buffer[4 * (LINE_MAX_LEN + 1)];
	static size_t used;
	char *begin = buffer, *end;
	ssize_t length;

	length = read(STDIN_FILENO, buffer + used, sizeof(buffer) - used);
	if (length < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -errno;
	if (length == 0)
		return 0;
	used += (size_t)length;
	while ((end = memchr(begin, '\n', used - (size_t)(begin - buffer)))) {
		*end = '\0';
		take(begin);
		begin = end + 1;
	}
	used -= (size_t)(begin - buffer);
	memmove(buffer, begin, used);
	return used > LINE_MAX_LEN ? -EMSGSIZE : 1;
}

int parse_number(const char *text, int64_t first, int64_t last, int64_t *value)
{
	char *end;

	if (!text || !*text)
		return -EINVAL;
	errno = 0;
	*value = strtoll(text, &end, 10);
	if (errno || *end || *value < first || *value > last)
		return -EINVAL;
	return 0;
}
