// SPDX-License-Identifier: Apache-2.0
#include "exit_code.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"

void fail(enum exit_code code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("lmk-agent: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit((int)code);
}

void log_line(const char *format, ...)
{
	__u64 now_ms = boottime_ns() / 1000000;
	va_list arguments;
	char text[256];
	int head, body;
	ssize_t written;

	/* vdprintf() would allocate: one buffer, one write(2). */
	head = snprintf(text, sizeof(text), "[%llu.%03llu] ", now_ms / 1000, now_ms % 1000);
	va_start(arguments, format);
	body = vsnprintf(text + head, sizeof(text) - (size_t)head - 1, format, arguments);
	va_end(arguments);
	if (body < 0)
		return;
	if (head + body > (int)sizeof(text) - 2)
		body = (int)sizeof(text) - 2 - head;
	text[head + body] = '\n';
	written = write(STDERR_FILENO, text, (size_t)(head + body + 1));
	(void)written; /* a log on a full disk: nothing better to do */
}
