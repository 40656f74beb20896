/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The level sensor: a timer that looks at levels, at an interval that the headroom sets. It
 * works where the tracepoints fall silent (no swap, no page cache). Softirq: what is not
 * calm is decided on the user task it interrupted, else it goes to a carrier.
 */
#ifndef LMK_LEVEL_TIMER_BPF_H
#define LMK_LEVEL_TIMER_BPF_H

#include "carry.bpf.h"

struct level_timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct level_timer);
} level_timers SEC(".maps");

/* Whether the verdict calls for a carrier; an evaluation that does not ends here. */
__noinline int look(void)
{
	if (sense_and_judge(false)) {
		count_outcome(LMK_OUT_ERROR);
		return 0;
	}
	if (state.gate_state == LMK_GATE_WAIT) {
		count_outcome(run.event.verdict.reason ? LMK_OUT_PENDING : LMK_OUT_CALM);
		return 0;
	}
	if (state.gate_state == LMK_GATE_RETRY)
		return run.event.verdict.reason != 0;
	if (run.event.verdict.reason && state.gate_state != LMK_GATE_BUDGET && !is_barren()) {
		if (!state.pending_look)
			state.pending_look_ns = run.event.sample.time_ns;
		state.pending_look = run.look;
		return 1;
	}
	count_outcome(!run.event.verdict.reason		    ? LMK_OUT_CALM
		      : state.gate_state == LMK_GATE_BUDGET ? LMK_OUT_BUDGET
							    : LMK_OUT_NO_VICTIM);
	conclude(false);
	return 0;
}

/*
 * A user task under this softirq is a context that may signal on any ABI: no need to wait for
 * a carrier to be scheduled. (The task that wakes kswapd has the timer look on its own CPU, so
 * this is what mostly comes of it.)
 */
static __always_inline bool user_task_below(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return !(task->flags & PF_KTHREAD) && task->mm;
}

static int on_tick(void *map, int *key, struct level_timer *element)
{
	struct lmk_counters *all = current_counters();
	__u64 began = bpf_ktime_get_ns(), token;
	__u32 interval_ms = CLAIMED_INTERVAL_MS;
	__u32 asked;
	int due = 0;

	if (!state.running || !all)
		return 0;
	token = take_claim();
	if (token) {
		asked = __sync_lock_test_and_set(&state.look_now, 0);
		/* The agent or a reclaiming task looked just now: no need to look twice. */
		if (asked || bpf_ktime_get_boot_ns() - state.last_sample_ns >
				     (__u64)state.interval_ms * LMK_MS / 2)
			due = look();
		interval_ms = state.interval_ms;
		drop_claim(token);
	} else {
		count_outcome(LMK_OUT_CLAIMED);
	}
	if (due && (!user_task_below() || run_decision(LMK_CARRIER_TIMER) == LMK_OUT_BUSY))
		hand_over();
	if (interval_ms < 1)
		interval_ms = 1;
	bpf_timer_start(&element->timer, interval_ms * LMK_MS, 0);
	/*
	 * Asked for while this ran: the start just now put it off. Never at once while the claim is
	 * held: it may be by the task under this softirq, which has to get on.
	 */
	if (token && *(volatile __u32 *)&state.look_now)
		bpf_timer_start(&element->timer, 0, 0);
	count(&all->ticks);
	__sync_fetch_and_add(&all->tick_ns, bpf_ktime_get_ns() - began);
	return 0;
}

static __always_inline int arm_timer(void)
{
	__u32 zero = 0;
	struct level_timer *element = bpf_map_lookup_elem(&level_timers, &zero);
	int result;

	if (!element)
		return -ENOENT;
	if (!use_timer)
		return 0;
	result = bpf_timer_init(&element->timer, &level_timers, CLOCK_MONOTONIC);
	if (result && result != -EBUSY)
		return result;
	result = bpf_timer_set_callback(&element->timer, on_tick);
	if (result)
		return result;
	return bpf_timer_start(&element->timer, 1, 0);
}

static __always_inline int arm_workqueue(void)
{
	__u32 zero = 0;
	struct work_element *element = bpf_map_lookup_elem(&workqueue, &zero);
	int result;

	if (!element)
		return -ENOENT;
	if (!use_workqueue || !bpf_ksym_exists(bpf_wq_init))
		return 0;
	result = bpf_wq_init(&element->work, &workqueue, 0);
	if (result && result != -EBUSY)
		return result;
	if (bpf_ksym_exists(bpf_wq_set_callback))
		return bpf_wq_set_callback(&element->work, on_work, 0);
	if (bpf_ksym_exists(bpf_wq_set_callback_impl))
		return bpf_wq_set_callback_impl(&element->work, on_work, 0, NULL);
	return 0;
}

#endif
