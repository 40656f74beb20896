/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to the host: lines in on stdin, one JSON object a line out on stdout. Both end in a
 * stream of the host's, so end of input or a broken output means that the host has gone.
 */
#ifndef LMK_WORKLOAD_LINES_H
#define LMK_WORKLOAD_LINES_H

#include <stddef.h>
#include <stdint.h>

#define LINE_MAX_LEN 511

/* Print one line and a newline at once; exits when nobody can read it any more. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);

/* {"event": "error", …} with a message; strerror(-error) is added unless `error` is 0. */
__attribute__((format(printf, 2, 3))) void say_error(int error, const char *format, ...);

/* Read what stdin has; call `take` for each whole line. 1, 0 at end of input, or -errno. */
int read_lines(void (*take)(char *line));

/*
 * The whole of `text` as a number in first..last; -EINVAL if it is not one. `text` may be
 * NULL (an argument that is missing).
 */
int parse_number(const char *text, int64_t first, int64_t last, int64_t *value);

#endif
