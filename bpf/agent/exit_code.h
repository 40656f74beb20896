/* SPDX-License-Identifier: Apache-2.0 */
/* Exit codes of every subcommand: those of lmk/errors.py. */
#ifndef LMK_AGENT_EXIT_CODE_H
#define LMK_AGENT_EXIT_CODE_H

#include <stdbool.h>

enum exit_code {
	EXIT_OK = 0,
	EXIT_BUG = 1,
	EXIT_USAGE = 2,
	EXIT_UNSUPPORTED = 3,
	EXIT_TRANSIENT = 4,
	EXIT_PROTOCOL = 5,
	EXIT_CHECK_FAILED = 6,
};

/* One line on stderr, then exit. For subcommands only: the daemons never end this way. */
void fail(enum exit_code code, const char *format, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* One line in the agent's log (its stderr), with the time. */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Of what happens again and again: the first time, the second, the fourth, and so on. */
static inline bool count_is_logged(unsigned long long count)
{
	return !(count & (count - 1));
}

#endif
