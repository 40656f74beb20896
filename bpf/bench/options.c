// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lines.h"

static int help(const char *command, const struct bench_option *table)
{
	printf("usage: lmk-bench %s [options]\n", command);
	for (; table->name; table++)
		printf("  --%-24s %s\n", table->name, table->help);
	return -1;
}

static int take(const struct bench_option *table, const char *name, const char *value)
{
	for (; table->name; table++) {
		if (strcmp(table->name, name))
			continue;
		if (table->word) {
			*table->word = value;
			return 0;
		}
		return parse_number(value, table->first, table->last, table->number);
	}
	return -ENOENT;
}

int take_options(int argc, char **argv, const struct bench_option *table)
{
	int at = 2;

	for (; at < argc && !strncmp(argv[at], "--", 2); at += 2) {
		if (!argv[at][2])
			return at + 1;
		if (!strcmp(argv[at], "--help"))
			return help(argv[1], table);
		if (at + 1 >= argc || take(table, argv[at] + 2, argv[at + 1])) {
			say_error(0, "unknown option or bad value: %s", argv[at]);
			return -1;
		}
	}
	return at;
}
