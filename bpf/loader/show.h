/* SPDX-License-Identifier: Apache-2.0 */
/* The pinned handlers by hand, as JSON: for tests and for a person at a shell. */
#ifndef LMK_SHOW_H
#define LMK_SHOW_H

#include <linux/types.h>

#include "lmk/abi.h"

/* Asks the pinned SYSCALL program for an operation by name, prints the answer. Exit code. */
int lmk_show_run(const char *pin_dir, const char *operation, struct lmk_call *call);

/* Prints the counters. Exit code. */
int lmk_show_counters(const char *pin_dir);

/* Prints events as JSON lines: `count` of them, or until `timeout_ms` passes without one. */
int lmk_show_events(const char *pin_dir, long count, int timeout_ms);

/* Replaces the policy by a raw struct lmk_policy. Exit code. */
int lmk_set_policy(const char *pin_dir, const char *file);

/* Protects pid from being chosen, or lends tid to the timer. Exit codes. */
int lmk_set_protected(const char *pin_dir, int pid);
int lmk_set_agent(const char *pin_dir, int tid);

/*
 * Runs the decision at the interval that the handlers ask for, as the agent does where they have no
 * timer, until they are unpinned. Returns the exit code.
 */
int lmk_drive(const char *pin_dir);

#endif
