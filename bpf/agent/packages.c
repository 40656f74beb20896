// SPDX-License-Identifier: Apache-2.0
#include "packages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "event_source.h"
#include "exit_code.h"
#include "inotify_events.h"

/* The file is replaced by a rename, so its directory is watched. */
#define DIRECTORY "/data/system"
#define LIST	  "packages.list"
/* Lines are below 1 KiB; what is longer is passed over. */
#define BUFFER 8192

static int watch_fd = -1;
static bool watching; /* the directory */

/* "name uid ...": the uid, or a negative number where the line is about another package. */
static long uid_in(const char *line, const char *name)
{
	size_t length = strlen(name);
	char *end;
	long uid;

	if (strncmp(line, name, length) || line[length] != ' ')
		return -1;
	uid = strtol(line + length + 1, &end, 10);
	return end == line + length + 1 || uid < 0 ? -1 : uid;
}

static void take_line(const char *line, struct wanted_package *wanted, __s32 *found,
		      unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		long uid = uid_in(line, wanted[i].name);

		if (uid >= 0)
			found[i] = (__s32)(uid % LMK_UIDS_PER_USER);
	}
}

int packages_find(struct wanted_package *wanted, unsigned int count)
{
	static char text[BUFFER + 1];
	__s32 found[LMK_APP_RULES];
	size_t have = 0;
	bool skip = false; /* the rest of a line that did not fit */
	ssize_t got;
	int fd;

	if (count > LMK_APP_RULES)
		return -E2BIG;
	for (unsigned int i = 0; i < count; i++)
		found[i] = PACKAGE_NOT_INSTALLED;
	fd = open(DIRECTORY "/" LIST, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((got = read(fd, text + have, BUFFER - have)) != 0) {
		char *line = text, *end;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int error = -errno;

			close(fd);
			return error;
		}
		have += (size_t)got;
		text[have] = 0;
		while ((end = memchr(line, '\n', (size_t)(text + have - line)))) {
			*end = 0;
			if (!skip)
				take_line(line, wanted, found, count);
			skip = false;
			line = end + 1;
		}
		have = (size_t)(text + have - line);
		memmove(text, line, have);
		if (have == BUFFER) {
			skip = true;
			have = 0;
		}
	}
	close(fd);
	text[have] = 0;
	if (!skip)
		take_line(text, wanted, found, count);
	for (unsigned int i = 0; i < count; i++)
		wanted[i].app_id = found[i];
	return 0;
}

bool packages_watch(int epoll_fd)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = event_source(SOURCE_PACKAGES, 0)};

	if (watching)
		return true;
	if (watch_fd < 0) {
		watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
		if (watch_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch_fd, &event)) {
			log_line("packages: not watched: %s", strerror(errno));
			return false;
		}
	}
	watching = inotify_add_watch(watch_fd, DIRECTORY,
				     IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR | IN_DELETE_SELF |
					     IN_MOVE_SELF) >= 0;
	return watching;
}

static bool is_of_list(const struct inotify_event *event)
{
	if (event->mask & IN_MOVE_SELF)
		inotify_rm_watch(watch_fd, event->wd);
	if (event->mask & (IN_IGNORED | IN_MOVE_SELF))
		watching = false; /* looked for again at the next look around */
	return event->len && !strcmp(event->name, LIST);
}

bool packages_changed(void)
{
	return inotify_heard(watch_fd, is_of_list);
}
