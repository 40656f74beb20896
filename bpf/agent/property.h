/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System properties, as far as an agent with no libc of Android's can have them: by the programs
 * `getprop` and `setprop`. Not for the deciding thread: each is a process of its own.
 */
#ifndef LMK_AGENT_PROPERTY_H
#define LMK_AGENT_PROPERTY_H

#include <stddef.h>

#define PROPERTY_BYTES 92 /* PROP_VALUE_MAX of bionic: the value and its NUL */

/* The value; an empty one where there is none. 0 or -errno: -ENOENT without `getprop`. */
int property_get(const char *name, char value[PROPERTY_BYTES]);

/* 0 or -errno: -EPERM when `setprop` says that it was refused. */
int property_set(const char *name, const char *value);

#endif
