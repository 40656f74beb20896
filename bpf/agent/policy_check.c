// SPDX-License-Identifier: Apache-2.0
#include "policy_check.h"

#include <pb_decode.h>
#include <stdio.h>

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

static bool stall_ok(const struct check *check, const char *field, bool has,
		     const lmk_v1_StallReason *stall)
{
	if (!has || !stall->has_enabled)
		return complain(check, field, "missing");
	if (!within(check, field, stall->has_window_ms, stall->window_ms, 50, 10000) ||
	    !within(check, field, stall->has_stall_ms, stall->stall_ms, 1, stall->window_ms))
		return false;
	return floor_ok(check, field, stall->has_min_oom_score_adj, stall->min_oom_score_adj);
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

static bool timing_ok(const struct check *check, bool has, const lmk_v1_Timing *timing)
{
	if (!has)
		return complain(check, "timing", "missing");
	return within(check, "timing.pressure_interval_ms", timing->has_pressure_interval_ms,
		      timing->pressure_interval_ms, 1, 1000) &&
	       within(check, "timing.idle_interval_ms", timing->has_idle_interval_ms,
		      timing->idle_interval_ms, timing->pressure_interval_ms, 60000) &&
	       within(check, "timing.fill_rate_mb_per_s", timing->has_fill_rate_mb_per_s,
		      timing->fill_rate_mb_per_s, 1, 1000000) &&
	       within(check, "timing.kill_timeout_ms", timing->has_kill_timeout_ms,
		      timing->kill_timeout_ms, 1, 60000) &&
	       within(check, "timing.retry_ms", timing->has_retry_ms, timing->retry_ms, 1,
		      timing->kill_timeout_ms);
}

bool policy_check(const lmk_v1_Policy *policy, char *why, size_t why_size)
{
	struct check check = {
		.why = why, .size = why_size, .allow_negative = policy->allow_negative_floor};
	const lmk_v1_SwapReason *low_swap = &policy->low_swap;
	const lmk_v1_WatermarkReason *watermark = &policy->watermark;

	if (!timing_ok(&check, policy->has_timing, &policy->timing) ||
	    !within(&check, "scarcity.available_below_pct",
		    policy->has_scarcity && policy->scarcity.has_available_below_pct,
		    policy->scarcity.available_below_pct, 0, 100) ||
	    !stall_ok(&check, "full_stall", policy->has_full_stall, &policy->full_stall) ||
	    !stall_ok(&check, "some_stall", policy->has_some_stall, &policy->some_stall))
		return false;
	if (!policy->has_low_swap || !low_swap->has_enabled)
		return complain(&check, "low_swap", "missing");
	if (!within(&check, "low_swap.level", low_swap->has_level, low_swap->level, 1, 3) ||
	    !within(&check, "low_swap.swap_free_low_pct", low_swap->has_swap_free_low_pct,
		    low_swap->swap_free_low_pct, 0, 100) ||
	    !floor_ok(&check, "low_swap.min_oom_score_adj", low_swap->has_min_oom_score_adj,
		      low_swap->min_oom_score_adj))
		return false;
	if (!policy->has_watermark || !watermark->has_enabled)
		return complain(&check, "watermark", "missing");
	return within(&check, "watermark.level", watermark->has_level, watermark->level, 1, 3) &&
	       floor_ok(&check, "watermark.min_oom_score_adj", watermark->has_min_oom_score_adj,
			watermark->min_oom_score_adj) &&
	       ranges_ok(&check, "only_uids", policy->only_uids, policy->only_uids_count) &&
	       ranges_ok(&check, "protected_uids", policy->protected_uids,
			 policy->protected_uids_count);
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
