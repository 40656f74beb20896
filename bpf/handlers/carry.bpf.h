/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Handing a decision from the timer (softirq) to a context that may send a signal and take a
 * millisecond: a work queue (bpf_wq, 6.10) or task work on a user task (bpf_task_work, 6.18).
 *
 * Which of them may really send is found by the self-test, never by the name of the ABI: on
 * x86 bpf_send_signal_task() wants current->mm to be the loaded one (nmi_uaccess_okay()), so a
 * kworker gets -EPERM there; on arm64 it gets 0.
 */
#ifndef LMK_CARRY_BPF_H
#define LMK_CARRY_BPF_H

#include "decision.bpf.h"

/*
 * What holds a work queue, task work or a timer stops at once when the last user-space reference to
 * the map goes: the loader pins them.
 */
struct work_element {
	struct bpf_wq work;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work_element);
} workqueue SEC(".maps");

struct task_work_element {
	struct bpf_task_work work;
};

/* One element per borrowed task: work stuck on a stopped agent must not block pid 1's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LMK_DEFER_MAX);
	__type(key, __u32);
	__type(value, struct task_work_element);
} task_works SEC(".maps");

/* A borrowed task that has not run our work for this long (stopped, starved) is passed over. */
#define BORROW_NS (20 * LMK_MS)

/*
 * kfuncs whose BTF prototype changed: `_impl` with an explicit last argument (6.10, 6.18), then
 * an implicit one (7.0). The flavour that a kernel lacks is a null ksym, which the verifier
 * takes as a constant, so its call is dead code there.
 */
extern int bpf_wq_init(struct bpf_wq *wq, void *map, unsigned int flags) __ksym __weak;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym __weak;
extern int bpf_wq_set_callback(struct bpf_wq *wq, int(callback)(void *, int *, void *),
			       unsigned int flags) __ksym __weak;
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq, int(callback)(void *, int *, void *),
				    unsigned int flags, void *aux) __ksym __weak;
extern int
bpf_task_work_schedule_signal(struct task_struct *task, struct bpf_task_work *work, void *map,
			      int(callback)(struct bpf_map *, void *, void *)) __ksym __weak;
extern int bpf_task_work_schedule_signal_impl(struct task_struct *task, struct bpf_task_work *work,
					      void *map,
					      int(callback)(struct bpf_map *, void *, void *),
					      void *aux) __ksym __weak;

static __always_inline struct lmk_carrier_test *carrier_test(__u32 deferral)
{
	__u32 zero = 0;
	struct lmk_carriers *all = bpf_map_lookup_elem(&carriers, &zero);

	return all && deferral < LMK_DEFER_MAX ? &all->test[deferral] : NULL;
}

static __always_inline bool carrier_works(__u32 deferral)
{
	struct lmk_carrier_test *test = carrier_test(deferral);

	return test && test->ran_ns && !test->result;
}

/* The self-test's question, answered from the very context that would kill. Was there one? */
static __always_inline bool answer_test(__u32 deferral)
{
	struct lmk_carrier_test *test = carrier_test(deferral);
	struct task_struct *task;

	if (!test || !test->asked_ns || test->ran_ns)
		return false;
	test->result = -ESRCH;
	task = bpf_task_from_pid(state.self_test_pid);
	if (task) {
		test->result = bpf_send_signal_task(task, 0, PIDTYPE_TGID, 0);
		bpf_task_release(task);
	}
	test->ran_ns = bpf_ktime_get_boot_ns();
	return true;
}

static __always_inline void run_deferred(__u32 deferral, __u32 carrier)
{
	__u64 began = bpf_ktime_get_ns();
	struct lmk_counters *all = current_counters();

	if (deferral < LMK_DEFER_MAX)
		state.handed_over_ns[deferral] = 0;
	if (!answer_test(deferral))
		run_decision(carrier);
	if (!all)
		return;
	count(&all->deferred);
	__sync_fetch_and_add(&all->deferred_ns, bpf_ktime_get_ns() - began);
}

/* kworker: may sleep. */
static int on_work(void *map, int *key, void *value)
{
	run_deferred(LMK_DEFER_WORKQUEUE, LMK_CARRIER_WORKQUEUE);
	return 0;
}

/* The borrowed task, on its way back to user space: may sleep. */
static int on_task_work(struct bpf_map *map, void *key, void *value)
{
	__u32 deferral = *(__u32 *)key;

	run_deferred(deferral == LMK_DEFER_AGENT ? LMK_DEFER_AGENT : LMK_DEFER_INIT,
		     LMK_CARRIER_TASK_WORK);
	return 0;
}

static __always_inline int start_work(void)
{
	__u32 zero = 0;
	struct work_element *element = bpf_map_lookup_elem(&workqueue, &zero);

	if (!element || !use_workqueue || !bpf_ksym_exists(bpf_wq_start))
		return -EOPNOTSUPP;
	return bpf_wq_start(&element->work, 0);
}

/* TWA_SIGNAL: wakes the task; an epoll_wait of it returns EINTR. */
static __always_inline int start_task_work(__u32 deferral)
{
	struct task_work_element *element = bpf_map_lookup_elem(&task_works, &deferral);
	__u32 zero = 0;
	struct lmk_agent_thread *thread = bpf_map_lookup_elem(&agent, &zero);
	struct task_struct *task;
	int result = -EOPNOTSUPP;

	if (!element || !thread || !use_task_work)
		return -EOPNOTSUPP;
	if (deferral == LMK_DEFER_AGENT && thread->tid <= 0)
		return -ESRCH;
	task = bpf_task_from_pid(deferral == LMK_DEFER_AGENT ? thread->tid : 1);
	if (!task)
		return -ESRCH;
	if (bpf_ksym_exists(bpf_task_work_schedule_signal))
		result = bpf_task_work_schedule_signal(task, &element->work, &task_works,
						       on_task_work);
	else if (bpf_ksym_exists(bpf_task_work_schedule_signal_impl))
		result = bpf_task_work_schedule_signal_impl(task, &element->work, &task_works,
							    on_task_work, NULL);
	bpf_task_release(task);
	return result;
}

/* Work that is already on its way there counts as handed over, unless it has been too long. */
static __always_inline int hand_to(__u32 deferral, __u64 now)
{
	int result;

	if (deferral >= LMK_DEFER_MAX)
		return -EINVAL;
	result = deferral == LMK_DEFER_WORKQUEUE ? start_work() : start_task_work(deferral);
	if (!result) {
		if (!state.handed_over_ns[deferral])
			state.handed_over_ns[deferral] = now;
		return 0;
	}
	if (result == -EBUSY && state.handed_over_ns[deferral] &&
	    now - state.handed_over_ns[deferral] < BORROW_NS)
		return 0;
	return result;
}

/*
 * The agent's thread first: it is SCHED_FIFO, while a kworker waits its turn among the tasks
 * that cause the pressure. Task work is one mechanism: what pid 1 can carry, the agent can.
 */
__noinline int hand_over(void)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct lmk_counters *all;

	if (carrier_works(LMK_DEFER_AGENT) || carrier_works(LMK_DEFER_INIT)) {
		if (!hand_to(LMK_DEFER_AGENT, now))
			return 0;
	}
	if (carrier_works(LMK_DEFER_WORKQUEUE) && !hand_to(LMK_DEFER_WORKQUEUE, now))
		return 0;
	if (carrier_works(LMK_DEFER_INIT) && !hand_to(LMK_DEFER_INIT, now))
		return 0;
	all = current_counters();
	if (all)
		count(&all->carrier_failed);
	return -EPERM;
}

#endif
