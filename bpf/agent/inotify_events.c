// SPDX-License-Identifier: Apache-2.0
#include "inotify_events.h"

#include <unistd.h>

bool inotify_heard(int fd, bool (*counts)(const struct inotify_event *event))
{
	char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool heard = false;
	ssize_t got;

	while ((got = read(fd, events, sizeof(events))) > 0) {
		for (ssize_t at = 0; at < got;) {
			const struct inotify_event *event = (const void *)(events + at);

			at += (ssize_t)(sizeof(*event) + event->len);
			if (counts(event) || event->mask & IN_Q_OVERFLOW)
				heard = true;
		}
	}
	return heard;
}
