// SPDX-License-Identifier: Apache-2.0
#include "status.h"

#include <stdio.h>
#include <string.h>

#include "decide_thread.h"
#include "lease.h"
#include "names.h"
#include "record.h"
#include "swap.h"

#define LENGTH(array) (sizeof(array) / sizeof(*(array)))

/* In the order of enum lmk_outcome. */
static const char *const outcomes[LMK_OUT_MAX] = {
	"calm",	   "killed",  "dry_run", "claimed", "pending", "no_victim", "busy",
	"refused", "retried", "stale",	 "timeout", "error",   "budget",
};

/* In the order of enum lmk_refusal. */
static const char *const refusals[LMK_REFUSE_MAX] = {
	"none", "init",	 "kernel_thread", "adj_never",	 "protected",
	"uid",	"dying", "no_mm",	  "below_floor", "shares_memory",
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
		add(status, "", "decisions", counters.decisions);
		add(status, "", "ticks", counters.ticks);
		add(status, "", "tick_ns", counters.tick_ns);
		add(status, "", "deferred", counters.deferred);
		add(status, "", "deferred_ns", counters.deferred_ns);
		add(status, "", "carrier_failed", counters.carrier_failed);
		add(status, "", "exits_seen", counters.exits_seen);
		add(status, "", "mm_exits_seen", counters.mm_exits_seen);
		add(status, "agent", "decisions", decider_decisions(agent->decider));
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

static void add_handlers(struct agent *agent, lmk_v1_Status *status, bool with_candidates)
{
	struct lmk_call call = {.op = LMK_OP_STATUS, .with_candidates = with_candidates};

	swap_fill(&call);
	if (!bpf_run(agent->pins.call, &call) && !call.result) {
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
				       name);
		}
	}
	add_programs(status);
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
	status->has_lease_left_ms = shared->lease_ms != 0;
	status->lease_left_ms = lease_left_ms(shared);
	status->agent_pid = shared->agent_pid;
	status->guardian_pid = shared->guardian_pid;
	status->agent_restarts = shared->agent_restarts;
	status->spool_bytes = agent->spool.total_bytes;
	status->spool_limit_bytes = agent->spool.limit_bytes;
}
