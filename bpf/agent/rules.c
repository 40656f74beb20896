// SPDX-License-Identifier: Apache-2.0
#include "rules.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "event_source.h"
#include "exit_code.h"
#include "packages.h"
#include "process.h"
#include "ring.h"
#include "rule_cgroups.h"
#include "rule_map.h"

static __u32 generation;		  /* of agent->policy */
static __u32 prepared_generation;	  /* of the policy that is being prepared */
static __s32 app_ids[LMK_APP_RULES];	  /* of agent->policy; PACKAGE_NOT_INSTALLED */
static __s32 prepared_ids[LMK_APP_RULES]; /* of the policy that is being prepared */
static struct ring renamed;
static bool renamed_open;

static struct rule_scope current(struct agent *agent)
{
	return (struct rule_scope){
		.pins = &agent->pins, .policy = &agent->policy, .generation = generation};
}

static bool is_for(const lmk_v1_AppRule *rule, pb_size_t tag)
{
	return rule->which_match == tag;
}

static bool has_kind(const lmk_v1_Policy *policy, pb_size_t tag)
{
	for (pb_size_t i = 0; i < policy->rules_count; i++) {
		if (is_for(&policy->rules[i], tag))
			return true;
	}
	return false;
}

static __u32 kinds_of(const lmk_v1_Policy *policy)
{
	return (has_kind(policy, lmk_v1_AppRule_package_tag) ? LMK_RULE_APP : 0u) |
	       (has_kind(policy, lmk_v1_AppRule_process_tag) ? LMK_RULE_PROCESS : 0u) |
	       (has_kind(policy, lmk_v1_AppRule_cgroup_tag) ||
				has_kind(policy, lmk_v1_AppRule_unit_tag)
			? LMK_RULE_CGROUP
			: 0u);
}

bool rules_need_agent(const lmk_v1_Policy *policy)
{
	return kinds_of(policy) != 0;
}

/* ---- packages ---- */

/* Of packages with one uid the first rule counts. */
static bool is_first(const __s32 *ids, unsigned int index)
{
	for (unsigned int i = 0; i < index; i++) {
		if (ids[i] == ids[index])
			return false;
	}
	return true;
}

/* Into `ids`, by rule. Where there is no list they stay as they are. */
static void find_packages(const lmk_v1_Policy *policy, __s32 *ids)
{
	struct wanted_package wanted[LMK_APP_RULES];
	pb_size_t rule_of[LMK_APP_RULES];
	unsigned int count = 0;

	for (pb_size_t i = 0; i < policy->rules_count; i++) {
		if (!is_for(&policy->rules[i], lmk_v1_AppRule_package_tag))
			continue;
		rule_of[count] = i;
		wanted[count++] = (struct wanted_package){.name = policy->rules[i].match.package,
							  .app_id = ids[i]};
	}
	if (!count || packages_find(wanted, count))
		return;
	for (unsigned int i = 0; i < count; i++)
		ids[rule_of[i]] = wanted[i].app_id;
}

static int set_packages(const struct rule_scope *scope, const __s32 *ids)
{
	for (pb_size_t i = 0; i < scope->policy->rules_count; i++) {
		int error;

		if (ids[i] < 0 || !is_first(ids, i))
			continue;
		error = rule_set(scope, LMK_RULE_APP, (__u32)ids[i], 0, (__u32)i + 1);
		if (error)
			return error;
	}
	return 0;
}

static bool keep_installed(const struct rule_scope *scope, const struct lmk_rule_key *key)
{
	if (key->kind != LMK_RULE_APP || key->generation != scope->generation)
		return true;
	for (pb_size_t i = 0; i < scope->policy->rules_count; i++) {
		if (app_ids[i] >= 0 && (__u32)app_ids[i] == key->id)
			return true;
	}
	return false;
}

static void refresh_packages(struct agent *agent)
{
	struct rule_scope scope = current(agent);
	int error;

	if (!has_kind(scope.policy, lmk_v1_AppRule_package_tag))
		return;
	find_packages(scope.policy, app_ids);
	/* New ones first: what is protected stays so. */
	error = set_packages(&scope, app_ids);
	if (error)
		log_line("rules: packages: %s", strerror(-error));
	rule_sweep(&scope, keep_installed);
}

void rules_hear_packages(struct agent *agent)
{
	if (packages_changed())
		refresh_packages(agent);
}

/* ---- processes ---- */

/* The place of the first rule for this name; 0: none. */
static __u32 rule_for_name(const lmk_v1_Policy *policy, const char *name)
{
	for (pb_size_t i = 0; i < policy->rules_count; i++) {
		if (is_for(&policy->rules[i], lmk_v1_AppRule_process_tag) &&
		    !strcmp(policy->rules[i].match.process, name))
			return (__u32)i + 1;
	}
	return 0;
}

static int see(pid_t pid, void *context)
{
	struct rule_scope *scope = context;
	char name[PROCESS_NAME];
	struct process_stat stat;
	__u32 place;
	int error;

	if (process_command(pid, name))
		return 0;
	place = rule_for_name(scope->policy, name);
	/* The name again: the pid may have become somebody else's before its start was read. */
	if (!place || process_stat(pid, &stat) || process_command(pid, name) ||
	    rule_for_name(scope->policy, name) != place)
		return 0;
	error = rule_set(scope, LMK_RULE_PROCESS, (__u32)pid, stat.start_ticks * 10000000ULL,
			 place);
	if (error && !scope->error)
		scope->error = error;
	return 0;
}

/* Of those that have one, whose name no rule is for any more, and who is gone. */
static bool keep_named(const struct rule_scope *scope, const struct lmk_rule_key *key)
{
	struct lmk_rule_entry entry;
	char name[PROCESS_NAME];

	if (key->kind != LMK_RULE_PROCESS || key->generation != scope->generation)
		return true;
	return !bpf_map_get(scope->pins->rules, key, &entry) &&
	       process_is((pid_t)key->id, process_ticks(entry.start_ns)) &&
	       !process_command((pid_t)key->id, name) &&
	       rule_for_name(scope->policy, name) == entry.rule;
}

static void refresh_processes(struct agent *agent)
{
	struct rule_scope scope = current(agent);

	rule_sweep(&scope, keep_named);
	process_each(see, &scope);
	if (scope.error)
		log_line("rules: processes: %s", strerror(-scope.error));
}

/* ---- cgroups ---- */

static void refresh_cgroups(struct agent *agent)
{
	struct rule_scope scope = current(agent);

	rule_cgroups_refresh(&scope, agent->epoll_fd);
}

void rules_hear_cgroups(struct agent *agent)
{
	rule_cgroups_hear(kinds_of(&agent->policy) & LMK_RULE_CGROUP);
}

__u64 rules_look_at_new(struct agent *agent, __u64 now_ns)
{
	if (rule_cgroups_due_ns() && now_ns >= rule_cgroups_due_ns())
		refresh_cgroups(agent);
	return rule_cgroups_due_ns();
}

/* ---- all of them ---- */

void rules_refresh(struct agent *agent)
{
	__u32 kinds = kinds_of(&agent->policy);

	/* It was not there, or it may have changed while it could not be watched. */
	if (kinds & LMK_RULE_APP) {
		packages_watch(agent->epoll_fd);
		refresh_packages(agent);
	}
	if (kinds & LMK_RULE_CGROUP)
		refresh_cgroups(agent);
	if (kinds & LMK_RULE_PROCESS)
		refresh_processes(agent);
}

static void look_at_process(struct rule_scope *scope, pid_t pid)
{
	char name[PROCESS_NAME];

	/* It may have had another name before. */
	if (process_command(pid, name) || !rule_for_name(scope->policy, name))
		rule_unset(scope, LMK_RULE_PROCESS, (__u32)pid);
	else
		see(pid, scope);
}

static bool take_renamed(const void *data, size_t size, void *context)
{
	const struct lmk_renamed_event *event = data;

	if (size >= sizeof(*event))
		look_at_process(context, event->pid);
	return true;
}

static void settle_looks(struct agent *agent, const struct rule_scope *scope)
{
	if (scope->error == -E2BIG) /* of processes that are gone there may be room */
		rules_refresh(agent);
	else if (scope->error)
		log_line("rules: processes: %s", strerror(-scope->error));
}

void rules_look_at_process(struct agent *agent, pid_t pid)
{
	struct rule_scope scope = current(agent);

	if (!(kinds_of(scope.policy) & LMK_RULE_PROCESS))
		return;
	look_at_process(&scope, pid);
	settle_looks(agent, &scope);
}

void rules_hear_renamed(struct agent *agent)
{
	struct rule_scope scope = current(agent);

	ring_consume(&renamed, take_renamed, &scope);
	settle_looks(agent, &scope);
}

/* What is told before is in it when it is first read. */
static int listen_to_names(struct agent *agent)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_source(SOURCE_RENAMED, 0)};
	int error;

	if (renamed_open)
		return 0;
	error = ring_open(&renamed, agent->pins.renamed, agent->pins.renamed_bytes);
	if (error)
		return error;
	renamed_open = true;
	return epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, agent->pins.renamed, &event) ? -errno : 0;
}

/* ---- a policy is put in force ---- */

static bool keep_in_force(const struct rule_scope *scope, const struct lmk_rule_key *key)
{
	return key->generation == scope->generation;
}

int rules_prepare(struct agent *agent, const lmk_v1_Policy *policy, struct lmk_policy *view)
{
	struct rule_scope scope = {.pins = &agent->pins, .policy = policy};
	struct lmk_policy in_force;
	int error;

	/* What the handlers have: of a dead agent it goes on. */
	error = bpf_policy_in_force(&agent->pins, &in_force);
	if (error)
		return error;
	scope.generation = in_force.rules_generation;
	/* Of a policy that was prepared and did not come into force. */
	rule_sweep(&scope, keep_in_force);
	prepared_generation = view->rules_generation = ++scope.generation;
	view->rules_kinds = kinds_of(policy);
	for (unsigned int i = 0; i < LMK_APP_RULES; i++)
		prepared_ids[i] = PACKAGE_NOT_INSTALLED;
	if (view->rules_kinds & LMK_RULE_APP) {
		/* Watched before it is read: no change falls in between. */
		packages_watch(agent->epoll_fd);
		find_packages(policy, prepared_ids);
		error = set_packages(&scope, prepared_ids);
	}
	if (!error && view->rules_kinds & LMK_RULE_CGROUP)
		error = rule_cgroups_find(&scope, agent->epoll_fd);
	if (!error && view->rules_kinds & LMK_RULE_PROCESS) {
		error = listen_to_names(agent);
		process_each(see, &scope);
	}
	return error ? error : scope.error;
}

void rules_settle(struct agent *agent)
{
	struct rule_scope scope;

	generation = prepared_generation;
	memcpy(app_ids, prepared_ids, sizeof(app_ids));
	scope = current(agent);
	rule_sweep(&scope, keep_in_force);
	if (!(kinds_of(scope.policy) & LMK_RULE_CGROUP))
		rule_cgroups_forget();
	/* Who got a name while the handlers had no reason to tell. */
	rules_refresh(agent);
}

__u32 rules_generation(void)
{
	return generation;
}

__s32 rules_app_id(unsigned int index)
{
	return index < LMK_APP_RULES ? app_ids[index] : PACKAGE_NOT_INSTALLED;
}

void rules_describe(const lmk_v1_Policy *policy, __u32 place, char *text, size_t size)
{
	const lmk_v1_AppRule *rule;

	text[0] = 0;
	if (!place || place > policy->rules_count)
		return;
	rule = &policy->rules[place - 1];
	switch (rule->which_match) {
	case lmk_v1_AppRule_package_tag:
		snprintf(text, size, "package %s", rule->match.package);
		break;
	case lmk_v1_AppRule_process_tag:
		snprintf(text, size, "process %s", rule->match.process);
		break;
	case lmk_v1_AppRule_cgroup_tag:
		snprintf(text, size, "cgroup %s", rule->match.cgroup);
		break;
	case lmk_v1_AppRule_unit_tag:
		snprintf(text, size, "unit %s", rule->match.unit);
		break;
	case lmk_v1_AppRule_uids_tag:
		if (rule->match.uids.first == rule->match.uids.last)
			snprintf(text, size, "uids %" PRIu32, rule->match.uids.first);
		else
			snprintf(text, size, "uids %" PRIu32 "..%" PRIu32, rule->match.uids.first,
				 rule->match.uids.last);
		break;
	default:
		break;
	}
}
