// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include <stdio.h>

static bool need_comma;

static void write_escaped(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void before(const char *key)
{
	if (need_comma)
		putchar(',');
	need_comma = true;
	if (key) {
		write_escaped(key);
		putchar(':');
	}
}

void json_open(const char *key, char bracket)
{
	before(key);
	putchar(bracket);
	need_comma = false;
}

void json_close(char bracket)
{
	putchar(bracket);
	need_comma = true;
}

void json_string(const char *key, const char *value)
{
	before(key);
	if (value)
		write_escaped(value);
	else
		fputs("null", stdout);
}

void json_number(const char *key, long long value)
{
	before(key);
	printf("%lld", value);
}

void json_bool(const char *key, bool value)
{
	before(key);
	fputs(value ? "true" : "false", stdout);
}

void json_end(void)
{
	putchar('\n');
	fflush(stdout);
	need_comma = false;
}
