/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Is a cgroup one that a rule is for? By its path from the root, or by its own name. */
#ifndef LMK_CGROUP_NAME_H
#define LMK_CGROUP_NAME_H

#include "policy/memory.h"

/* `*` in `pattern` stands for any characters, or none, but '/': each name is matched by itself. */
LMK_INLINE int lmk_cgroup_matches(const char *pattern, const char *text)
{
	const char *star = 0, *from = 0;

	while (*text) {
		if (*pattern == '*') {
			star = ++pattern;
			from = text;
		} else if (*pattern == *text) {
			pattern++;
			text++;
		} else if (star && *from != '/') {
			/* The last `*` takes one more: no earlier one could do better. */
			pattern = star;
			text = ++from;
		} else {
			return 0;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

#endif
