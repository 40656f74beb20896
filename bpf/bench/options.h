/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the commands: long ones, most of them whole numbers within bounds. */
#ifndef LMK_BENCH_OPTIONS_H
#define LMK_BENCH_OPTIONS_H

#include <stdint.h>

struct bench_option {
	const char *name; /* without the dashes; NULL ends a table */
	int64_t *number;  /* or */
	const char **word;
	int64_t first, last; /* of a number */
	const char *help;
};

/*
 * Take the options that `argv` begins with, from argv[2] on. Returns the index of what follows
 * them (after a "--", if there is one), or -1 after it said what is wrong or, for --help, all.
 */
int take_options(int argc, char **argv, const struct bench_option *table);

#endif
