/* SPDX-License-Identifier: Apache-2.0 */
/* Loading the handlers and pinning them, and taking them down again. */
#ifndef LMK_LOAD_H
#define LMK_LOAD_H

/* Exit codes, as everywhere in the project. */
enum {
	EXIT_OK = 0,
	EXIT_BUG = 1,
	EXIT_USAGE = 2,
	EXIT_UNSUPPORTED = 3,
	EXIT_TRANSIENT = 4,
};

struct load_options {
	const char *object;   /* the handlers of the in_kernel path */
	const char *assisted; /* those of the assisted path; NULL: there are none */
	const char *path;   /* "in_kernel" or "assisted"; NULL: the best that the kernel supports */
	const char *policy; /* raw struct lmk_policy */
	const char *pin_dir;
	const char *log; /* NULL: stderr */
};

/*
 * Loads, pins, attaches, starts the handlers and tests the kill path; prints one JSON line.
 * Leaves nothing behind when it fails. Returns the exit code.
 */
int lmk_load(const struct load_options *options);

/* Stops and unpins whatever is there, half-loaded or whole. Returns the exit code. */
int lmk_unload(const char *pin_dir);

#endif
