/* SPDX-License-Identifier: Apache-2.0 */
/* The pins below /sys/fs/bpf/lmk: maps/NAME, programs/NAME, links/NAME. */
#ifndef LMK_PINS_H
#define LMK_PINS_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#include "lmk/abi.h"

/* DIR/KIND/NAME into `path`. */
void pin_path(char *path, size_t size, const char *dir, const char *kind, const char *name);

/* Makes DIR and its three folders, mounting bpffs where nobody has. 0 or -errno. */
int pins_prepare(const char *dir);

/* Is anything pinned in DIR? */
bool pins_exist(const char *dir);

/* Links first, so that nothing runs any more, then programs and maps. 0 or -errno. */
int pins_remove(const char *dir);

/* Runs the pinned SYSCALL program; `call` is what it is asked and what it answers. */
int pins_run(const char *dir, struct lmk_call *call);

/* fd of a pinned object, or -errno. */
int pins_get(const char *dir, const char *kind, const char *name);

#endif
