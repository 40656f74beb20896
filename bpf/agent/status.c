// SPDX-License-Identifier: Apache-2.0
#include "status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "decide_thread.h"
#include "exit_code.h"
#include "lease.h"
#include "lmkd_server.h"
#include "names.h"
#include "other_killer.h"
#include "pageout.h"
#include "record.h"
#include "rules.h"
#include "swap.h"

#define LENGTH(array) (sizeof(array) / sizeof(*(array)))

/* In the order of enum lmk_outcome. */
static const char *const outcomes[LMK_OUT_MAX] = {
	"calm",	   "killed",  "dry_run", "claimed", "pending", "no_victim", "busy",
	"refused", "retried", "stale",	 "timeout", "error",   "budget",
};

/* Status calls while another CPU decides (tens of microseconds each). */
#define STATUS_TRIES 50

/* In the order of enum lmk_refusal. */
static const char *const refusals[LMK_REFUSE_MAX] = {
	"none",	 "init",  "kernel_thread", "adj_never",	    "protected", "uid",
	"dying", "no_mm", "below_floor",   "shares_memory", "rule",
};

/* By enum lmk_verdict_slot. */
static const char *const verdicts[LMK_VERDICT_MAX] = {
	[LMK_REASON_PRESSURE_AFTER_KILL] = "pressure_after_kill",
	[LMK_REASON_NOT_RESPONDING] = "not_responding",
	[LMK_REASON_LOW_SWAP_AND_THRASHING] = "low_swap_and_thrashing",
	[LMK_REASON_LOW_MEM_AND_SWAP] = "low_mem_and_swap",
	[LMK_REASON_LOW_MEM_AND_THRASHING] = "low_mem_and_thrashing",
	[LMK_REASON_DIRECT_RECL_AND_THRASHING] = "direct_recl_and_thrashing",
	[LMK_REASON_LOW_MEM_AND_SWAP_UTIL] = "low_mem_and_swap_util",
	[LMK_REASON_LOW_FILECACHE_AFTER_THRASHING] = "low_filecache_after_thrashing",
	[LMK_REASON_LOW_MEM] = "low_mem",
	[LMK_REASON_DIRECT_RECL_STUCK] = "direct_recl_stuck",
	[LMK_VERDICT_PARTIAL_STALL] = "partial_stall",
	[LMK_VERDICT_VENDOR] = "vendor",
};

const char *status_outcome(__u32 outcome)
{
	return outcome < LMK_OUT_MAX ? outcomes[outcome] : "unknown";
}

static void add(lmk_v1_Status *status, const char *group, const char *name, __u64 value)
{
	lmk_v1_Counter *counter;

	if (status->counters_count == LENGTH(status->counters))
		return;
	counter = &status->counters[status->counters_count++];
	snprintf(counter->name, sizeof(counter->name), "%s%s%s", group, *group ? "." : "", name);
	counter->value = value;
}

static void add_counters(struct agent *agent, lmk_v1_Status *status)
{
	struct lmk_counters counters;
	__u32 zero = 0;

	if (agent->decider && !bpf_map_get(agent->pins.counters, &zero, &counters)) {
		for (int i = 0; i < LMK_OUT_MAX; i++)
			add(status, "outcome", outcomes[i], counters.outcome[i]);
		for (int i = 1; i < LMK_REFUSE_MAX; i++)
			add(status, "refused", refusals[i], counters.refusal[i]);
		for (int i = 1; i < LMK_VERDICT_MAX; i++)
			add(status, "verdict", verdicts[i], counters.verdict[i]);
		add(status, "", "decisions", counters.decisions);
		add(status, "", "ticks", counters.ticks);
		add(status, "", "tick_ns", counters.tick_ns);
		add(status, "", "deferred", counters.deferred);
		add(status, "", "deferred_ns", counters.deferred_ns);
		add(status, "", "carrier_failed", counters.carrier_failed);
		add(status, "", "exits_seen", counters.exits_seen);
		add(status, "", "mm_exits_seen", counters.mm_exits_seen);
		add(status, "", "other_kills", counters.other_kills);
		add(status, "agent", "decisions", decider_decisions(agent->decider));
		add(status, "pageout", "processes", pageout_counts().processes);
		add(status, "pageout", "kb", pageout_counts().kb);
	}
	add(status, "lost", "ring", agent_ring_lost(agent));
	add(status, "lost", "spool", agent->spool.unwritten);
}

static void add_programs(lmk_v1_Status *status)
{
	struct program_cost costs[LENGTH(status->programs)];
	unsigned int count = bpf_program_costs(costs, LENGTH(costs));

	for (unsigned int i = 0; i < count; i++) {
		lmk_v1_ProgramCost *program = &status->programs[status->programs_count++];

		snprintf(program->name, sizeof(program->name), "%.31s", costs[i].name);
		program->has_runs = program->has_run_time_ns = costs[i].runs != 0;
		program->runs = costs[i].runs;
		program->run_time_ns = costs[i].run_time_ns;
		program->recursion_misses = costs[i].recursion_misses;
	}
}

/* False: they could not be asked, or another CPU is deciding and goes on doing so. */
static bool ask_handlers(const struct agent *agent, struct lmk_call *call, bool with_candidates)
{
	for (int i = 0; i < STATUS_TRIES; i++) {
		*call = (struct lmk_call){.op = LMK_OP_STATUS, .with_candidates = with_candidates};
		swap_fill(call);
		if (bpf_run_whole(&agent->pins, call))
			return false;
		if (call->result != -EBUSY)
			return !call->result;
	}
	return false;
}

static void add_rules(const struct agent *agent, lmk_v1_Status *status)
{
	for (pb_size_t i = 0; i < agent->policy.rules_count; i++) {
		lmk_v1_RuleStatus *rule = &status->rules[status->rules_count++];
		__s32 app_id = rules_app_id(i);

		rule->has_app_id = app_id >= 0;
		rule->app_id = (__u32)app_id;
	}
}

static void add_handlers(struct agent *agent, lmk_v1_Status *status, bool with_candidates)
{
	struct lmk_call call;

	add_rules(agent, status);
	if (ask_handlers(agent, &call, with_candidates)) {
		for (pb_size_t i = 0; with_candidates && i < status->rules_count; i++) {
			status->rules[i].has_processes = true;
			status->rules[i].processes = call.rule_processes[i];
		}
		status->has_sample = true;
		record_sample(&status->sample, &call.sample);
		status->signals_count =
			record_signals(status->signals, &call.sample, &call.verdict);
		status->pending_pid = call.pending_pid;
		status->has_budget_left = call.budget_left >= 0;
		status->budget_left = (__u32)call.budget_left;
		for (__u32 i = 0; i < call.n_candidates && i < LMK_CANDIDATES; i++) {
			const struct lmk_process *candidate = &call.candidates[i];
			__u64 ticks = process_ticks(candidate->start_ns);
			char name[PROCESS_NAME];

			names_read(candidate->pid, ticks);
			names_find(candidate->pid, ticks, name);
			record_process(&status->candidates[status->candidates_count++], candidate,
				       name, &agent->policy);
		}
	}
	add_programs(status);
}

void status_count_costs(struct agent *agent)
{
	if (!agent->costs_until_ns) {
		agent->costs_fd = bpf_count_costs();
		if (agent->costs_fd < 0) {
			log_line("costs are not counted: %s", strerror(-agent->costs_fd));
			return;
		}
	}
	agent->costs_until_ns = boottime_ns() + COSTS_NS;
}

__u64 status_expire_costs(struct agent *agent, __u64 now_ns)
{
	if (agent->costs_until_ns && now_ns >= agent->costs_until_ns) {
		close(agent->costs_fd);
		agent->costs_until_ns = 0;
	}
	return agent->costs_until_ns;
}

_Static_assert(LENGTH(((lmk_v1_LmkdSocket *)0)->refused) == LMKD_REFUSALS - 1, "one for each");

static void add_lmkd_socket(const struct agent *agent, lmk_v1_Status *status)
{
	lmk_v1_LmkdSocket *socket = &status->lmkd_socket;
	const struct lmkd_server *server = agent->lmkd;
	const struct lmkd_counters *counters;

	status->has_lmkd_socket = server != NULL;
	if (!server)
		return;
	counters = &server->counters;
	socket->clients = lmkd_server_clients(server);
	socket->processes = server->registry.count;
	socket->packets = counters->packets;
	for (enum lmkd_refusal why = LMKD_TAKEN + 1; why < LMKD_REFUSALS; why++) {
		lmk_v1_Counter *refused = &socket->refused[socket->refused_count++];

		snprintf(refused->name, sizeof(refused->name), "%s", lmkd_refusal_name(why));
		refused->value = counters->refused[why];
	}
	socket->clients_refused = counters->clients_refused;
	socket->clients_deaf = counters->clients_deaf;
	socket->unsent = counters->unsent;
	socket->kills_told = counters->told;
	socket->kills_told_later = counters->told_later;
	socket->kills_untold = server->missed->dropped;
}

void status_fill(struct agent *agent, lmk_v1_Status *status, bool with_candidates)
{
	struct shared *shared = agent->shared;

	memset(status, 0, sizeof(*status));
	status->has_hello = true;
	agent_hello(agent, &status->hello);
	if (agent->decider) {
		status->has_policy = true;
		status->policy = agent->policy;
		add_handlers(agent, status, with_candidates);
	}
	add_counters(agent, status);
	add_lmkd_socket(agent, status);
	status->lmkd_silent = agent->give_back && lmkd_silent(shared->dir);
	status->has_lease_left_ms = shared->lease_ms != 0;
	status->lease_left_ms = lease_left_ms(shared);
	status->agent_pid = shared->agent_pid;
	status->guardian_pid = shared->guardian_pid;
	status->agent_restarts = shared->agent_restarts;
	other_killer_list(agent, status->stopped_units, sizeof(status->stopped_units));
	status->spool_bytes = agent->spool.total_bytes;
	status->spool_limit_bytes = agent->spool.limit_bytes;
}
