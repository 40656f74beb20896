/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Android's list of installed packages: one line each, name and uid (of the first user) first.
 * The package manager replaces the file whenever that changes.
 */
#ifndef LMK_AGENT_PACKAGES_H
#define LMK_AGENT_PACKAGES_H

#include <linux/types.h>
#include <stdbool.h>

#include "policy/rules.h"

#define PACKAGE_NOT_INSTALLED (-1)

struct wanted_package {
	const char *name;
	__s32 app_id; /* uid modulo LMK_UIDS_PER_USER, or PACKAGE_NOT_INSTALLED */
};

/* Looks all of them up. 0; or -errno and nothing changed: there is no list, as on other systems. */
int packages_find(struct wanted_package *wanted, unsigned int count);

/* Has `epoll_fd` hear of SOURCE_PACKAGES, if it does not already. False: there is no such place. */
bool packages_watch(int epoll_fd);

/* After SOURCE_PACKAGES: may the list have changed? */
bool packages_changed(void);

#endif
