/* SPDX-License-Identifier: Apache-2.0 */
/* Loading and pinning the handlers: the loader's work, in a child that exits before the agent
 * starts. */
#ifndef LMK_AGENT_LOAD_H
#define LMK_AGENT_LOAD_H

#include "shared.h"

struct load_options {
	const char *loader;
	const char *object;
	const char *assisted;
};

/*
 * Runs the loader, puts the policy in force and runs the start-up self-test; fills in kill
 * path, carrier and self-test of `shared`. On failure says why on stderr (the loader's own
 * words first), leaves nothing pinned, and returns the exit code to end with; EXIT_OK.
 */
int load_handlers(struct shared *shared, const struct load_options *options);

/* Runs the self-test of pinned handlers: 0 or -errno, and one line of text. */
int load_self_test(struct shared *shared);

#endif
