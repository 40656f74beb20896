// SPDX-License-Identifier: Apache-2.0
#include "rule_cgroups.h"

#include <errno.h>
#include <string.h>

#include "cgroups.h"
#include "clock.h"
#include "exit_code.h"

/* Where many cgroups are made, most of the time is not spent looking at them. */
#define CGROUPS_REST_NS (100 * NSEC_PER_MSEC)

static __u64 looks; /* at all cgroups */
static __u64 last_look_ns;
static __u64 next_look_ns; /* 0: no new ones are known of */

static void take_cgroup(__u64 id, __u32 place, void *context)
{
	struct rule_scope *scope = context;
	int error = rule_set(scope, LMK_RULE_CGROUP, id, scope->look, place);

	if (error && !scope->error)
		scope->error = error;
}

int rule_cgroups_find(struct rule_scope *scope, int epoll_fd)
{
	int error;

	scope->look = ++looks;
	last_look_ns = boottime_ns();
	error = cgroups_find(scope->policy, epoll_fd, take_cgroup, scope);
	if (error && !scope->error)
		scope->error = error;
	return scope->error;
}

static bool keep_found(const struct rule_scope *scope, const struct lmk_rule_key *key)
{
	struct lmk_rule_entry entry;

	if (key->kind != LMK_RULE_CGROUP || key->generation != scope->generation)
		return true;
	return !bpf_map_get(scope->pins->rules, key, &entry) && entry.start_ns == scope->look;
}

void rule_cgroups_refresh(struct rule_scope *scope, int epoll_fd)
{
	next_look_ns = 0;
	/* New ones first: what is protected stays so. */
	if (rule_cgroups_find(scope, epoll_fd))
		log_line("rules: cgroups: %s", strerror(-scope->error));
	/* Not all were seen, unless only the room was missing. */
	if (!scope->error || scope->error == -E2BIG)
		rule_sweep(scope, keep_found);
}

void rule_cgroups_hear(bool wanted)
{
	if (cgroups_changed() && wanted)
		next_look_ns = last_look_ns + CGROUPS_REST_NS;
}

__u64 rule_cgroups_due_ns(void)
{
	return next_look_ns;
}

void rule_cgroups_forget(void)
{
	cgroups_unwatch();
	next_look_ns = 0;
}
