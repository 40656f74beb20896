// SPDX-License-Identifier: Apache-2.0
#include "bpf_sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "assist/put_policy.h"

static int bpf(enum bpf_cmd command, union bpf_attr *attr)
{
	long result = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

static __u64 address(const void *pointer)
{
	return (__u64)(unsigned long)pointer;
}

static int object_get(const char *path)
{
	union bpf_attr attr = {.pathname = address(path)};

	return bpf(BPF_OBJ_GET, &attr);
}

static int object_info(int fd, void *info, __u32 size)
{
	union bpf_attr attr = {
		.info = {.bpf_fd = (__u32)fd, .info_len = size, .info = address(info)}};

	memset(info, 0, size);
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

int bpf_map_set(int map, const void *key, const void *value)
{
	union bpf_attr attr = {.map_fd = (__u32)map, .key = address(key), .value = address(value)};

	return bpf(BPF_MAP_UPDATE_ELEM, &attr);
}

int bpf_map_get(int map, const void *key, void *value)
{
	union bpf_attr attr = {.map_fd = (__u32)map, .key = address(key), .value = address(value)};

	return bpf(BPF_MAP_LOOKUP_ELEM, &attr);
}

int bpf_map_remove(int map, const void *key)
{
	union bpf_attr attr = {.map_fd = (__u32)map, .key = address(key)};

	return bpf(BPF_MAP_DELETE_ELEM, &attr);
}

int bpf_map_next(int map, const void *key, void *next)
{
	union bpf_attr attr = {
		.map_fd = (__u32)map, .key = address(key), .next_key = address(next)};

	return bpf(BPF_MAP_GET_NEXT_KEY, &attr);
}

int bpf_run(int program, struct lmk_call *call)
{
	union bpf_attr attr = {.test = {.prog_fd = (__u32)program,
					.ctx_in = address(call),
					.ctx_size_in = sizeof(*call)}};

	return bpf(BPF_PROG_TEST_RUN, &attr);
}

/*
 * On the assisted path the deciding thread cannot decide while somebody else has the claim, and
 * kernels before 6.11 cannot keep a program from being scheduled away with it.
 */
static void go_first(void)
{
	struct sched_param first = {.sched_priority = 1};

	sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);
}

static void go_as_usual(void)
{
	struct sched_param usual = {0};

	sched_setscheduler(0, SCHED_OTHER, &usual);
}

int bpf_run_whole(const struct pins *pins, struct lmk_call *call)
{
	struct assist assist = {.call = pins->call, .walk = pins->walk, .iter = -1};
	int error;

	go_first();
	error = assist_run(&assist, call);
	go_as_usual();
	assist_close(&assist);
	return error;
}

int bpf_put_policy(const struct pins *pins, const struct lmk_policy *policy)
{
	int error;

	go_first();
	error = put_policy(pins->call, pins->policy, policy);
	go_as_usual();
	return error;
}

int bpf_policy_in_force(const struct pins *pins, struct lmk_policy *policy)
{
	return policy_in_force(pins->call, pins->policy, policy);
}

int pins_open(struct pins *pins, const char **missing)
{
	const struct {
		int *fd;
		const char *path;
	} wanted[] = {
		{&pins->policy, "maps/policy"},
		{&pins->counters, "maps/counters"},
		{&pins->protected, "maps/protected"},
		{&pins->agent, "maps/agent"},
		{&pins->carriers, "maps/carriers"},
		{&pins->events, "maps/events"},
		{&pins->rules, "maps/rules"},
		{&pins->renamed, "maps/renamed"},
		{&pins->cached, "maps/cached"},
		{&pins->call, "programs/lmk_call"},
		{&pins->registered, "maps/registered"},
		{&pins->registered_count, "maps/registered_count"},
	};
	struct bpf_map_info info;
	char path[64];
	int error;

	memset(pins, 0xff, sizeof(*pins)); /* every fd -1 */
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		snprintf(path, sizeof(path), LMK_PIN_DIR "/%s", wanted[i].path);
		*wanted[i].fd = object_get(path);
		if (*wanted[i].fd < 0) {
			error = *wanted[i].fd;
			*missing = wanted[i].path;
			pins_close(pins);
			return error;
		}
	}
	*missing = "maps/events";
	error = object_info(pins->events, &info, sizeof(info));
	pins->events_bytes = info.max_entries;
	if (!error) {
		*missing = "maps/renamed";
		error = object_info(pins->renamed, &info, sizeof(info));
		pins->renamed_bytes = info.max_entries;
	}
	if (!error) {
		*missing = "maps/cached";
		error = object_info(pins->cached, &info, sizeof(info));
		pins->cached_bytes = info.max_entries;
	}
	if (error) {
		pins_close(pins);
		return error;
	}
	pins->walk = object_get(LMK_PIN_DIR "/links/lmk_walk");
	return 0;
}

void pins_close(struct pins *pins)
{
	int *fds[] = {&pins->registered, &pins->registered_count, &pins->policy,
		      &pins->counters,	 &pins->protected,	  &pins->rules,
		      &pins->renamed,	 &pins->cached,		  &pins->agent,
		      &pins->carriers,	 &pins->events,		  &pins->call,
		      &pins->walk};

	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

bool pins_present(void)
{
	return access(LMK_PIN_DIR, F_OK) == 0;
}

/* Removes a directory of the pins with what is in it, at most two levels deep. */
static int remove_tree(const char *path, int depth)
{
	struct dirent *entry;
	char child[320];
	int error = 0;
	DIR *dir;

	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir))) {
		int result;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		if (entry->d_type == DT_DIR && depth > 0)
			result = remove_tree(child, depth - 1);
		else
			result = unlink(child) ? -errno : 0;
		if (result && !error)
			error = result;
	}
	closedir(dir);
	if (rmdir(path) && !error)
		error = -errno;
	return error;
}

int pins_remove(void)
{
	/* Links first: from then on no handler runs. Then what they used. */
	int links = remove_tree(LMK_PIN_DIR "/links", 0);
	int rest = remove_tree(LMK_PIN_DIR, 1);

	return links ? links : rest;
}

int bpf_dry_run(void)
{
	struct lmk_policy policy;
	int map, error, first = 0;

	map = object_get(LMK_PIN_DIR "/maps/policy");
	if (map < 0)
		return map;
	/* One word of each slot changes, so this needs neither the claim nor a slot that is free.
	 */
	for (__u32 slot = 0; slot < LMK_POLICY_SLOTS; slot++) {
		error = bpf_map_get(map, &slot, &policy);
		if (!error) {
			policy.dry_run = 1;
			error = bpf_map_set(map, &slot, &policy);
		}
		if (error && !first)
			first = error;
	}
	close(map);
	return first;
}

int bpf_stop(void)
{
	struct lmk_call call = {.op = LMK_OP_STOP};
	int program = object_get(LMK_PIN_DIR "/programs/lmk_call"), error;

	if (program < 0)
		return program;
	error = bpf_run(program, &call);
	close(program);
	return error ? error : call.result;
}

int bpf_count_costs(void)
{
	union bpf_attr attr = {.enable_stats = {.type = BPF_STATS_RUN_TIME}};

	return bpf(BPF_ENABLE_STATS, &attr);
}

unsigned int bpf_program_costs(struct program_cost *costs, unsigned int max)
{
	unsigned int count = 0;
	struct dirent *entry;
	char path[320];
	DIR *dir;

	/*
	 * Allocates: a few hundred bytes, freed below, on the thread that serves requests and only
	 * when somebody asks.
	 */
	dir = opendir(LMK_PIN_DIR "/programs");
	if (!dir)
		return 0;
	while (count < max && (entry = readdir(dir))) {
		struct bpf_prog_info info;
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), LMK_PIN_DIR "/programs/%s", entry->d_name);
		fd = object_get(path);
		if (fd < 0)
			continue;
		if (!object_info(fd, &info, sizeof(info))) {
			snprintf(costs[count].name, sizeof(costs[count].name), "%.31s",
				 entry->d_name);
			costs[count].runs = info.run_cnt;
			costs[count].run_time_ns = info.run_time_ns;
			costs[count].recursion_misses = info.recursion_misses;
			count++;
		}
		close(fd);
	}
	closedir(dir);
	return count;
}
