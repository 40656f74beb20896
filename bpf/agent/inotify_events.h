/* SPDX-License-Identifier: Apache-2.0 */
/* What an inotify descriptor has to say, taken in at once. */
#ifndef LMK_AGENT_INOTIFY_EVENTS_H
#define LMK_AGENT_INOTIFY_EVENTS_H

#include <stdbool.h>
#include <sys/inotify.h>

/*
 * Asks `counts` of every event that waits (each, also after one that counts). True: one counts,
 * or some were lost, so that nobody knows. The descriptor does not block; -1: none wait.
 */
bool inotify_heard(int fd, bool (*counts)(const struct inotify_event *event));

#endif
