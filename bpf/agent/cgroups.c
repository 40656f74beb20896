// SPDX-License-Identifier: Apache-2.0
#include "cgroups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "event_source.h"
#include "exit_code.h"
#include "inotify_events.h"
#include "lmk/abi.h"
#include "policy/cgroup_name.h"
#include "policy/rules.h"

/* linux/magic.h */
#define CGROUP2_MAGIC 0x63677270

/* The second where systemd keeps controllers of v1 beside it: the tree is the same. */
static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

static int watch_fd = -1;

struct walk {
	const lmk_v1_Policy *policy;
	void (*found)(__u64 id, __u32 place, void *context);
	void *context;
	bool watch;
	int error; /* the first */
};

struct directory {
	const char *path; /* from the root: "/system.slice/ssh.service"; the root: "" */
	const char *name; /* the last of it */
	__u32 level;	  /* names in the path */
	__u32 place;	  /* of the rule that counts in it, by itself and those above; 0: none */
};

/* Is `rule` for this very directory? */
static bool is_for(const lmk_v1_AppRule *rule, const struct directory *directory)
{
	switch (rule->which_match) {
	case lmk_v1_AppRule_cgroup_tag:
		return lmk_cgroup_matches(rule->match.cgroup, directory->path);
	case lmk_v1_AppRule_unit_tag:
		return lmk_cgroup_matches(rule->match.unit, directory->name);
	default:
		return false;
	}
}

static __u32 rule_for(const lmk_v1_Policy *policy, const struct directory *directory)
{
	for (pb_size_t i = 0; i < policy->rules_count; i++) {
		if (is_for(&policy->rules[i], directory))
			return (__u32)i + 1;
	}
	return 0;
}

/* Does the directory lie on the way to what a path of more names may match? */
static bool leads_to(const struct directory *directory, const char *pattern)
{
	char begin[sizeof(((lmk_v1_AppRule *)0)->match.cgroup)];
	__u32 level = 0;

	for (size_t at = 0; pattern[at]; at++) {
		level += pattern[at] == '/';
		if (level > directory->level) {
			begin[at] = 0;
			return lmk_cgroup_matches(begin, directory->path);
		}
		begin[at] = pattern[at];
	}
	return false;
}

/* May a rule before the one that counts there be for something below? Hundreds of units are not. */
static bool wants_below(const lmk_v1_Policy *policy, const struct directory *directory)
{
	__u32 end = directory->place ? directory->place - 1 : (__u32)policy->rules_count;

	if (directory->level >= LMK_CGROUP_LEVELS)
		return false;
	for (__u32 i = 0; i < end; i++) {
		const lmk_v1_AppRule *rule = &policy->rules[i];

		if (rule->which_match == lmk_v1_AppRule_unit_tag ||
		    (rule->which_match == lmk_v1_AppRule_cgroup_tag &&
		     leads_to(directory, rule->match.cgroup)))
			return true;
	}
	return false;
}

/* One that is watched already stays so: its inode is what counts. */
static void watch(int fd)
{
	static bool said;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (inotify_add_watch(watch_fd, path, IN_CREATE | IN_ONLYDIR) >= 0 || said)
		return;
	said = true;
	log_line("cgroups: not all are watched: %s", strerror(errno));
}

static void look_in(struct walk *walk, int fd, const struct directory *in);

static void take_entry(struct walk *walk, int fd, const struct directory *in,
		       const struct dirent64 *entry)
{
	/* One for the whole walk: names have at most 255 bytes, and `in` has the beginning. */
	static char path[LMK_CGROUP_LEVELS * 256 + 1];
	size_t end = strlen(in->path);
	struct directory directory = {.path = path, .name = path + end + 1, .level = in->level + 1};
	__u32 own;
	int child;

	if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
		return;
	snprintf(path + end, sizeof(path) - end, "/%s", entry->d_name);
	own = rule_for(walk->policy, &directory);
	directory.place = lmk_first_rule(in->place, own);
	if (directory.place != in->place)
		walk->found(entry->d_ino, own, walk->context);
	if (wants_below(walk->policy, &directory)) {
		child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (child >= 0)
			look_in(walk, child, &directory);
		else if (errno != ENOENT && !walk->error) /* else it went meanwhile */
			walk->error = -errno;
	}
	path[end] = 0;
}

/* Closes `fd`. At most LMK_CGROUP_LEVELS deep; readdir() would allocate. */
static void look_in(struct walk *walk, int fd, const struct directory *in)
{
	char entries[1024] __attribute__((aligned(8)));
	ssize_t got;

	/* Before it is read: no new one falls in between. */
	if (walk->watch)
		watch(fd);
	while ((got = getdents64(fd, entries, sizeof(entries))) > 0) {
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *entry = (const void *)(entries + at);

			at += entry->d_reclen;
			take_entry(walk, fd, in, entry);
		}
	}
	if (got < 0 && errno != ENOENT && !walk->error)
		walk->error = -errno;
	close(fd);
}

static bool can_watch(int epoll_fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_source(SOURCE_CGROUPS, 0)};

	if (watch_fd >= 0)
		return true;
	watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (watch_fd >= 0 && !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watch_fd, &event))
		return true;
	log_line("cgroups: not watched: %s", strerror(errno));
	cgroups_unwatch();
	return false;
}

static int open_root(void)
{
	struct statfs fs;

	for (unsigned int i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		if (!statfs(mounts[i], &fs) && (__u32)fs.f_type == CGROUP2_MAGIC) {
			int fd = open(mounts[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);

			return fd < 0 ? -errno : fd;
		}
	}
	return -ENOENT;
}

int cgroups_find(const lmk_v1_Policy *policy, int epoll_fd,
		 void (*found)(__u64 id, __u32 place, void *context), void *context)
{
	struct walk walk = {.policy = policy, .found = found, .context = context};
	const struct directory root = {.path = "", .name = ""};
	int fd = open_root();

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	walk.watch = can_watch(epoll_fd);
	look_in(&walk, fd, &root);
	return walk.error;
}

static bool is_new(const struct inotify_event *event)
{
	return event->mask & IN_CREATE;
}

bool cgroups_changed(void)
{
	return inotify_heard(watch_fd, is_new);
}

void cgroups_unwatch(void)
{
	if (watch_fd >= 0)
		close(watch_fd);
	watch_fd = -1;
}
