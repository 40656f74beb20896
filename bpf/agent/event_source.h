/* SPDX-License-Identifier: Apache-2.0 */
/* What an epoll event is about: a kind and a slot, packed into epoll_data. */
#ifndef LMK_AGENT_EVENT_SOURCE_H
#define LMK_AGENT_EVENT_SOURCE_H

#include <linux/types.h>

enum source {
	SOURCE_TIMER = 0,
	SOURCE_RECORD_LISTENER = 1,
	SOURCE_CONTROL_LISTENER = 2,
	SOURCE_CLIENT = 3,
	SOURCE_DECIDER = 4,   /* the deciding thread has something for the main thread */
	SOURCE_GUARDIAN = 5,  /* pidfd */
	SOURCE_PROTECTED = 6, /* pidfd of adbd or lmkd */
	SOURCE_RING = 7,
	SOURCE_STOP = 8,
	SOURCE_VICTIM = 9,	/* pidfd */
	SOURCE_PACKAGES = 10,	/* inotify: the list of installed packages */
	SOURCE_RENAMED = 11,	/* ring: processes that may have a name that a rule is for */
	SOURCE_CGROUPS = 12,	/* inotify: new cgroups */
	SOURCE_LMKD_PLACE = 13, /* inotify: where lmkd's socket is */
	SOURCE_LMKD_LISTENER = 14,
	SOURCE_LMKD_CLIENT = 15,
	SOURCE_OTHER_KILLER = 16, /* inotify: where the cgroups of stopped units were */
};

static inline __u64 event_source(enum source source, __u32 index)
{
	return (__u64)source << 32 | index;
}

#endif
