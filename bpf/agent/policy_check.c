// SPDX-License-Identifier: Apache-2.0
#include "policy_check.h"

#include <linux/types.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "lmk/abi.h"

struct check {
	char *why;
	size_t size;
	bool allow_negative;
};

static bool complain(const struct check *check, const char *field, const char *what)
{
	snprintf(check->why, check->size, "%s: %s", field, what);
	return false;
}

static bool within(const struct check *check, const char *field, bool has, __INT64_TYPE__ value,
		   __INT64_TYPE__ least, __INT64_TYPE__ most)
{
	if (!has)
		return complain(check, field, "missing");
	if (value >= least && value <= most)
		return true;
	snprintf(check->why, check->size, "%s: %lld is not within %lld..%lld", field,
		 (long long)value, (long long)least, (long long)most);
	return false;
}

static bool floor_ok(const struct check *check, const char *field, bool has, int floor)
{
	if (!within(check, field, has, floor, -1000, 1001))
		return false;
	if (floor < 0 && !check->allow_negative)
		return complain(check, field, "below 0 without allow_negative_floor");
	return true;
}

static bool ranges_ok(const struct check *check, const char *field, const lmk_v1_UidRange *ranges,
		      pb_size_t count)
{
	for (pb_size_t i = 0; i < count; i++) {
		if (!ranges[i].has_first || !ranges[i].has_last)
			return complain(check, field, "first and last are both needed");
		if (ranges[i].first > ranges[i].last)
			return complain(check, field, "first is above last");
	}
	return true;
}

/* Which of `rules` it is goes before what is wrong with it. */
static bool rule_within(const struct check *check, pb_size_t index, const char *field,
			__INT64_TYPE__ value, __INT64_TYPE__ least, __INT64_TYPE__ most)
{
	char path[48];

	snprintf(path, sizeof(path), "rules[%u].%s", (unsigned int)index, field);
	return within(check, path, true, value, least, most);
}

/* As the host's check has it, which says more. */
static bool cgroup_ok(const char *path)
{
	__u32 level = 0;

	for (const char *name = path; *name; level++) {
		size_t length;

		if (*name++ != '/')
			return false;
		length = strcspn(name, "/");
		if (!length || (length == 1 && *name == '.') ||
		    (length == 2 && !strncmp(name, "..", 2)))
			return false;
		name += length;
	}
	return level && level <= LMK_CGROUP_LEVELS;
}

static bool rule_ok(const struct check *check, pb_size_t index, const lmk_v1_AppRule *rule)
{
	char path[48];

	snprintf(path, sizeof(path), "rules[%u]", (unsigned int)index);
	switch (rule->which_match) {
	case lmk_v1_AppRule_uids_tag:
		if (!ranges_ok(check, path, &rule->match.uids, 1))
			return false;
		break;
	case lmk_v1_AppRule_package_tag:
		if (!rule->match.package[0])
			return complain(check, path, "package is empty");
		break;
	case lmk_v1_AppRule_process_tag:
		if (!rule->match.process[0])
			return complain(check, path, "process is empty");
		break;
	case lmk_v1_AppRule_cgroup_tag:
		if (!cgroup_ok(rule->match.cgroup))
			return complain(check, path, "cgroup is no path below the root");
		break;
	case lmk_v1_AppRule_unit_tag:
		if (!rule->match.unit[0] || strchr(rule->match.unit, '/'))
			return complain(check, path, "unit is not one name");
		break;
	default:
		return complain(check, path,
				"one of uids, package, process, cgroup, unit is needed");
	}
	if (!rule->protect && !rule->prefer && !rule->has_floor_score &&
	    !(rule->has_weight_pct && rule->weight_pct != 100) && !rule->relaunch_cost_kb)
		return complain(check, path, "changes nothing");
	return (!rule->has_floor_score ||
		rule_within(check, index, "floor_score", rule->floor_score, -999, 999)) &&
	       (!rule->has_weight_pct ||
		rule_within(check, index, "weight_pct", rule->weight_pct, 0, 1000));
}

static bool rules_ok(const struct check *check, const lmk_v1_Policy *policy)
{
	for (pb_size_t i = 0; i < policy->rules_count; i++) {
		if (!rule_ok(check, i, &policy->rules[i]))
			return false;
	}
	return true;
}

static bool timing_ok(const struct check *check, const lmk_v1_Timing *timing)
{
	return within(check, "timing.pressure_interval_ms", timing->has_pressure_interval_ms,
		      timing->pressure_interval_ms, 1, 1000) &&
	       within(check, "timing.idle_interval_ms", timing->has_idle_interval_ms,
		      timing->idle_interval_ms, timing->pressure_interval_ms, 60000) &&
	       within(check, "timing.fill_rate_mb_per_s", timing->has_fill_rate_mb_per_s,
		      timing->fill_rate_mb_per_s, 1, 1000000) &&
	       within(check, "timing.kill_timeout_ms", timing->has_kill_timeout_ms,
		      timing->kill_timeout_ms, 0, 60000) &&
	       within(check, "timing.retry_ms", timing->has_retry_ms, timing->retry_ms, 1,
		      timing->kill_timeout_ms ? timing->kill_timeout_ms : 60000) &&
	       within(check, "timing.evaluate", timing->has_evaluate, timing->evaluate, 1, 2) &&
	       within(check, "timing.poll_short_ms", timing->has_poll_short_ms,
		      timing->poll_short_ms, 1, 10000) &&
	       within(check, "timing.poll_long_ms", timing->has_poll_long_ms, timing->poll_long_ms,
		      timing->poll_short_ms, 10000) &&
	       within(check, "timing.early_out", timing->has_early_out, timing->early_out, 0, 1) &&
	       within(check, "timing.shadow_timeout_ms", timing->has_shadow_timeout_ms,
		      timing->shadow_timeout_ms, 0, 3600000);
}

static bool stall_ok(const struct check *check, const lmk_v1_Stall *stall)
{
	return within(check, "stall.psi_window_size_ms", stall->has_psi_window_size_ms,
		      stall->psi_window_size_ms, 50, 10000) &&
	       within(check, "stall.psi_partial_stall_ms", stall->has_psi_partial_stall_ms,
		      stall->psi_partial_stall_ms, 1, stall->psi_window_size_ms) &&
	       within(check, "stall.psi_complete_stall_ms", stall->has_psi_complete_stall_ms,
		      stall->psi_complete_stall_ms, 1, stall->psi_window_size_ms) &&
	       floor_ok(check, "stall.partial_stall_min_score", stall->has_partial_stall_min_score,
			stall->partial_stall_min_score) &&
	       floor_ok(check, "stall.complete_stall_min_score",
			stall->has_complete_stall_min_score, stall->complete_stall_min_score) &&
	       within(check, "stall.stall_limit_critical_pct", stall->has_stall_limit_critical_pct,
		      stall->stall_limit_critical_pct, 0, 100) &&
	       within(check, "stall.foreground_up_to_score", stall->has_foreground_up_to_score,
		      stall->foreground_up_to_score, -1000, 1000) &&
	       within(check, "stall.foreground_weight_pct", stall->has_foreground_weight_pct,
		      stall->foreground_weight_pct, 0, 1000) &&
	       within(check, "stall.background_weight_pct", stall->has_background_weight_pct,
		      stall->background_weight_pct, 0, 1000) &&
	       within(check, "stall.since_kill", stall->has_since_kill, stall->since_kill, 0, 1);
}

static bool swap_ok(const struct check *check, const lmk_v1_Swap *swap)
{
	return within(check, "swap.swap_free_low_percentage", swap->has_swap_free_low_percentage,
		      swap->swap_free_low_percentage, 0, 100) &&
	       within(check, "swap.no_swap_is_low", swap->has_no_swap_is_low, swap->no_swap_is_low,
		      0, 1) &&
	       within(check, "swap.low_swap_level", swap->has_low_swap_level, swap->low_swap_level,
		      1, 3) &&
	       within(check, "swap.swap_util_max_pct", swap->has_swap_util_max_pct,
		      swap->swap_util_max_pct, 0, 100) &&
	       floor_ok(check, "swap.swap_util_min_score", swap->has_swap_util_min_score,
			swap->swap_util_min_score) &&
	       within(check, "swap.swap_compression_ratio_div",
		      swap->has_swap_compression_ratio_div, swap->swap_compression_ratio_div, 1,
		      1000000) &&
	       within(check, "swap.swap_compression_ratio", swap->has_swap_compression_ratio,
		      swap->swap_compression_ratio, 0, 1000000) &&
	       within(check, "swap.measure_compression", swap->has_measure_compression,
		      swap->measure_compression, 0, 1);
}

static bool thrashing_ok(const struct check *check, const lmk_v1_Thrashing *thrashing)
{
	return within(check, "thrashing.thrashing_limit_pct", thrashing->has_thrashing_limit_pct,
		      thrashing->thrashing_limit_pct, 0, 1000000) &&
	       within(check, "thrashing.thrashing_limit_decay_pct",
		      thrashing->has_thrashing_limit_decay_pct,
		      thrashing->thrashing_limit_decay_pct, 0, 100) &&
	       within(check, "thrashing.thrashing_limit_critical_pct",
		      thrashing->has_thrashing_limit_critical_pct,
		      thrashing->thrashing_limit_critical_pct, thrashing->thrashing_limit_pct,
		      1000000) &&
	       within(check, "thrashing.count_anon_refaults", thrashing->has_count_anon_refaults,
		      thrashing->count_anon_refaults, 0, 1) &&
	       within(check, "thrashing.filecache_min_kb", thrashing->has_filecache_min_kb,
		      thrashing->filecache_min_kb, 0, 0xffffffffLL) &&
	       floor_ok(check, "thrashing.filecache_min_score", thrashing->has_filecache_min_score,
			thrashing->filecache_min_score);
}

static bool low_mem_ok(const struct check *check, const lmk_v1_LowMem *low_mem)
{
	return floor_ok(check, "low_mem.lowmem_min_oom_score", low_mem->has_lowmem_min_oom_score,
			low_mem->lowmem_min_oom_score) &&
	       within(check, "low_mem.level", low_mem->has_level, low_mem->level, 1, 3) &&
	       within(check, "low_mem.watermark_per_zone", low_mem->has_watermark_per_zone,
		      low_mem->watermark_per_zone, 0, 1) &&
	       within(check, "low_mem.relaxed_available_memory",
		      low_mem->has_relaxed_available_memory, low_mem->relaxed_available_memory, 0,
		      1) &&
	       floor_ok(check, "low_mem.pressure_after_kill_min_score",
			low_mem->has_pressure_after_kill_min_score,
			low_mem->pressure_after_kill_min_score) &&
	       within(check, "low_mem.horizon_ms", low_mem->has_horizon_ms, low_mem->horizon_ms, 0,
		      10000);
}

static bool rest_ok(const struct check *check, const lmk_v1_Rest *rest)
{
	return floor_ok(check, "rest.pageout_min_score", rest->has_pageout_min_score,
			rest->pageout_min_score) &&
	       within(check, "rest.pageout_after_ms", rest->has_pageout_after_ms,
		      rest->pageout_after_ms, 100, 3600000) &&
	       within(check, "rest.pageout_swap_free_pct", rest->has_pageout_swap_free_pct,
		      rest->pageout_swap_free_pct, 0, 100);
}

static bool small_ok(const struct check *check, const lmk_v1_Policy *policy)
{
	const lmk_v1_Reclaim *reclaim = &policy->reclaim;
	const lmk_v1_Floors *floors = &policy->floors;
	const lmk_v1_Kills *kills = &policy->kills;

	return within(check, "other_killer", policy->has_other_killer, policy->other_killer, 1,
		      5) &&
	       within(check, "scarcity.available_below_pct",
		      policy->scarcity.has_available_below_pct,
		      policy->scarcity.available_below_pct, 0, 100) &&
	       within(check, "scarcity.unless_thrashing", policy->scarcity.has_unless_thrashing,
		      policy->scarcity.unless_thrashing, 0, 1) &&
	       within(check, "reclaim.direct_reclaim_threshold_ms",
		      reclaim->has_direct_reclaim_threshold_ms,
		      reclaim->direct_reclaim_threshold_ms, 0, 0xffffffffLL) &&
	       floor_ok(check, "reclaim.direct_reclaim_min_score",
			reclaim->has_direct_reclaim_min_score, reclaim->direct_reclaim_min_score) &&
	       floor_ok(check, "floors.perceptible_min_score", floors->has_perceptible_min_score,
			floors->perceptible_min_score) &&
	       floor_ok(check, "floors.critical_min_score", floors->has_critical_min_score,
			floors->critical_min_score) &&
	       within(check, "kills.wait_for_memory", kills->has_wait_for_memory,
		      kills->wait_for_memory, 0, 1) &&
	       within(check, "kills.max_per_minute", kills->has_max_per_minute,
		      kills->max_per_minute, 0, 6000) &&
	       within(check, "kills.order", kills->has_order, kills->order, 1, 3) &&
	       within(check, "kills.largest_rss_up_to_score", kills->has_largest_rss_up_to_score,
		      kills->largest_rss_up_to_score, -1000, 1000) &&
	       ranges_ok(check, "only_uids", policy->only_uids, policy->only_uids_count) &&
	       ranges_ok(check, "protected_uids", policy->protected_uids,
			 policy->protected_uids_count);
}

/* A group that is absent has no field that is there: its first check says which. */
bool policy_check(const lmk_v1_Policy *policy, char *why, size_t why_size)
{
	struct check check = {
		.why = why, .size = why_size, .allow_negative = policy->allow_negative_floor};

	return timing_ok(&check, &policy->timing) && stall_ok(&check, &policy->stall) &&
	       swap_ok(&check, &policy->swap) && thrashing_ok(&check, &policy->thrashing) &&
	       low_mem_ok(&check, &policy->low_mem) && rest_ok(&check, &policy->rest) &&
	       small_ok(&check, policy) && rules_ok(&check, policy);
}

bool policy_decode(const void *bytes, size_t length, lmk_v1_Policy *policy, char *why,
		   size_t why_size)
{
	pb_istream_t stream = pb_istream_from_buffer(bytes, length);

	*policy = (lmk_v1_Policy)lmk_v1_Policy_init_zero;
	if (!pb_decode(&stream, lmk_v1_Policy_fields, policy)) {
		snprintf(why, why_size, "not an lmk.v1.Policy: %s", PB_GET_ERROR(&stream));
		return false;
	}
	return policy_check(policy, why, why_size);
}
