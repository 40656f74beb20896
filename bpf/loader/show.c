// SPDX-License-Identifier: Apache-2.0
#include "show.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "assist/put_policy.h"
#include "json.h"
#include "load.h"
#include "pins.h"

static const char *const outcomes[LMK_OUT_MAX] = {
	[LMK_OUT_CALM] = "calm",       [LMK_OUT_KILLED] = "killed",
	[LMK_OUT_DRY_RUN] = "dry_run", [LMK_OUT_CLAIMED] = "claimed",
	[LMK_OUT_PENDING] = "pending", [LMK_OUT_NO_VICTIM] = "no_victim",
	[LMK_OUT_BUSY] = "busy",       [LMK_OUT_REFUSED] = "refused",
	[LMK_OUT_RETRIED] = "retried", [LMK_OUT_STALE] = "stale",
	[LMK_OUT_TIMEOUT] = "timeout", [LMK_OUT_ERROR] = "error",
	[LMK_OUT_BUDGET] = "budget",
};

static const char *const refusals[LMK_REFUSE_MAX] = {
	[LMK_REFUSE_NONE] = "none",
	[LMK_REFUSE_INIT] = "init",
	[LMK_REFUSE_KTHREAD] = "kthread",
	[LMK_REFUSE_ADJ_NEVER] = "adj_never",
	[LMK_REFUSE_PROTECTED] = "protected",
	[LMK_REFUSE_UID] = "uid",
	[LMK_REFUSE_DYING] = "dying",
	[LMK_REFUSE_NO_MM] = "no_mm",
	[LMK_REFUSE_BELOW_FLOOR] = "below_floor",
	[LMK_REFUSE_SHARER] = "sharer",
	[LMK_REFUSE_RULE] = "rule",
};

static int fail(const char *what, int error)
{
	fprintf(stderr, "lmk-loader: %s: %s\n", what, strerror(error < 0 ? -error : error));
	return EXIT_UNSUPPORTED;
}

static void number(const char *key, __u64 value)
{
	json_number(key, (long long)value);
}

static void write_sample(const struct lmk_sample *sample)
{
	json_open("sample", '{');
	number("time_ns", sample->time_ns);
	number("total_kb", sample->total_kb);
	number("free_kb", sample->free_kb);
	number("available_kb", sample->available_kb);
	number("wmark_min_kb", sample->wmark_min_kb);
	number("wmark_low_kb", sample->wmark_low_kb);
	number("wmark_high_kb", sample->wmark_high_kb);
	number("swap_total_kb", sample->swap_total_kb);
	number("swap_free_kb", sample->swap_free_kb);
	number("file_kb", sample->file_kb);
	number("anon_kb", sample->anon_kb);
	number("shmem_kb", sample->shmem_kb);
	number("slab_reclaimable_kb", sample->slab_reclaimable_kb);
	number("psi_some_total_us", sample->psi_some_total_us);
	number("psi_full_total_us", sample->psi_full_total_us);
	number("psi_some_window_us", sample->psi_some_window_us);
	number("psi_full_window_us", sample->psi_full_window_us);
	number("refault_file", sample->refault_file);
	number("refault_anon", sample->refault_anon);
	number("cma_free_kb", sample->cma_free_kb);
	number("inactive_file_kb", sample->inactive_file_kb);
	number("anon_lru_kb", sample->anon_lru_kb);
	number("dirty_kb", sample->dirty_kb);
	number("protection_kb", sample->protection_kb);
	number("reclaim_foreground_us", sample->reclaim_foreground_us);
	number("reclaim_background_us", sample->reclaim_background_us);
	number("reclaim_longest_us", sample->reclaim_longest_us);
	number("zones_below", sample->zones_below);
	number("full_avg10_pct100", sample->full_avg10_pct100);
	number("compression_pct", sample->compression_pct);
	number("direct_reclaimers", sample->direct_reclaimers);
	json_bool("kswapd_awake", sample->kswapd_awake);
	number("known", sample->known);
	json_close('}');
}

static void write_verdict(const struct lmk_verdict *verdict)
{
	json_open("verdict", '{');
	number("reason", verdict->reason);
	json_number("floor", verdict->floor);
	number("breached", verdict->breached);
	number("free_limit_kb", verdict->free_limit_kb);
	number("available_limit_kb", verdict->available_limit_kb);
	number("swap_limit_kb", verdict->swap_limit_kb);
	number("some_limit_us", verdict->some_limit_us);
	number("full_limit_us", verdict->full_limit_us);
	number("level", verdict->level);
	number("free_kb", verdict->free_kb);
	number("swap_free_kb", verdict->swap_free_kb);
	number("some_us", verdict->some_us);
	number("thrashing_pct", verdict->thrashing_pct);
	number("thrashing_limit_pct", verdict->thrashing_limit_pct);
	number("swap_util_pct", verdict->swap_util_pct);
	json_close('}');
}

static void write_process(const char *key, const struct lmk_process *process)
{
	char comm[LMK_COMM + 1] = "";

	memcpy(comm, process->comm, LMK_COMM);
	json_open(key, '{');
	json_number("pid", process->pid);
	json_number("tid", process->tid);
	number("uid", process->uid);
	json_number("adj", process->adj);
	number("start_ns", process->start_ns);
	number("anon_kb", process->anon_kb);
	number("file_kb", process->file_kb);
	number("shmem_kb", process->shmem_kb);
	number("swap_kb", process->swap_kb);
	number("pgtables_kb", process->pgtables_kb);
	number("min_flt", process->min_flt);
	number("maj_flt", process->maj_flt);
	number("threads", process->threads);
	number("flags", process->flags);
	number("rule", process->rule);
	json_string("comm", comm);
	json_close('}');
}

static void write_candidates(const struct lmk_process *candidates, __u32 count)
{
	json_open("candidates", '[');
	for (__u32 i = 0; i < count && i < LMK_CANDIDATES; i++)
		write_process(NULL, &candidates[i]);
	json_close(']');
}

/* What `run OPERATION` may be asked, by enum lmk_op. */
static const char *const operations[] = {
	[LMK_OP_RUN] = "run",	      [LMK_OP_STATUS] = "status",
	[LMK_OP_MEASURE] = "measure", [LMK_OP_SELF_TEST] = "self_test",
	[LMK_OP_VENDOR] = "vendor",
};

int lmk_show_run(const char *pin_dir, const char *operation, struct lmk_call *call)
{
	const size_t count = sizeof(operations) / sizeof(operations[0]);
	size_t op = 0;
	int error;

	if (!strncmp(operation, "lmk_", 4))
		operation += 4;
	while (op < count && (!operations[op] || strcmp(operation, operations[op])))
		op++;
	if (op == count) {
		fprintf(stderr,
			"lmk-loader: no operation %s: run, status, measure, self_test, vendor\n",
			operation);
		return EXIT_USAGE;
	}
	call->op = (__u32)op;
	error = pins_run(pin_dir, call);
	if (error)
		return fail(operation, error);
	json_open(NULL, '{');
	json_number("result", call->result);
	json_string("outcome", call->outcome < LMK_OUT_MAX ? outcomes[call->outcome] : NULL);
	json_bool("under_pressure", call->under_pressure);
	number("interval_ms", call->interval_ms);
	number("kill_id", call->kill_id);
	number("left_kb", call->left_kb);
	json_number("victim_pid", call->victim_pid);
	json_number("pending_pid", call->pending_pid);
	write_sample(&call->sample);
	write_verdict(&call->verdict);
	write_candidates(call->candidates, call->n_candidates);
	json_close('}');
	json_end();
	return EXIT_OK;
}

int lmk_show_counters(const char *pin_dir)
{
	struct lmk_counters all;
	int fd = pins_get(pin_dir, "maps", "counters"), error;
	__u32 zero = 0;

	if (fd < 0)
		return fail("map counters", fd);
	error = bpf_map_lookup_elem(fd, &zero, &all);
	close(fd);
	if (error)
		return fail("map counters", error);
	json_open(NULL, '{');
	json_open("outcome", '{');
	for (int i = 0; i < LMK_OUT_MAX; i++)
		number(outcomes[i], all.outcome[i]);
	json_close('}');
	json_open("refusal", '{');
	for (int i = 1; i < LMK_REFUSE_MAX; i++)
		number(refusals[i], all.refusal[i]);
	json_close('}');
	json_open("verdict", '[');
	for (int i = 0; i < LMK_VERDICT_MAX; i++)
		number(NULL, all.verdict[i]);
	json_close(']');
	number("ticks", all.ticks);
	number("tick_ns", all.tick_ns);
	number("deferred", all.deferred);
	number("deferred_ns", all.deferred_ns);
	number("decisions", all.decisions);
	number("ring_lost", all.ring_lost);
	number("carrier_failed", all.carrier_failed);
	number("exits_seen", all.exits_seen);
	number("mm_exits_seen", all.mm_exits_seen);
	number("other_kills", all.other_kills);
	json_close('}');
	json_end();
	return EXIT_OK;
}

static void write_kill(const struct lmk_kill_event *event)
{
	number("kill_id", event->kill_id);
	number("seen_ns", event->seen_ns);
	number("gated_ns", event->gated_ns);
	number("decided_ns", event->decided_ns);
	number("signalled_ns", event->signalled_ns);
	number("path", event->path);
	number("carrier", event->carrier);
	json_bool("dry_run", event->dry_run);
	number("processes_seen", event->processes_seen);
	number("processes_eligible", event->processes_eligible);
	number("sharers", event->sharers);
	json_number("kill_result", event->kill_result);
	write_verdict(&event->verdict);
	write_sample(&event->sample);
	write_process("victim", &event->victim);
	write_candidates(event->candidates, event->n_candidates);
}

static void write_end(const struct lmk_end_event *event)
{
	number("kill_id", event->kill_id);
	json_number("pid", event->pid);
	number("attempts", event->attempts);
	number("left_kb", event->left_kb);
	write_sample(&event->sample);
}

static void write_other(const struct lmk_other_event *event)
{
	char comm[LMK_COMM + 1] = "";

	memcpy(comm, event->sender_comm, LMK_COMM);
	number("signalled_ns", event->signalled_ns);
	number("cause", event->cause);
	json_number("sender_pid", event->sender_pid);
	number("sender_uid", event->sender_uid);
	json_string("sender_comm", comm);
	write_process("victim", &event->victim);
}

static int write_event(void *context, void *data, size_t size)
{
	static const char *const types[] = {"",		"kill",	 "exited", "memory_back",
					    "pressure", "retry", "other",  "look"};
	const struct lmk_event_head *head = data;
	long *left = context;

	json_open(NULL, '{');
	json_string("type", head->type <= LMK_EVENT_LOOK ? types[head->type] : NULL);
	number("time_ns", head->time_ns);
	if (head->type == LMK_EVENT_KILL && size >= sizeof(struct lmk_kill_event))
		write_kill(data);
	else if (head->type == LMK_EVENT_PRESSURE && size >= sizeof(struct lmk_pressure_event))
		json_bool("under_pressure",
			  ((const struct lmk_pressure_event *)data)->under_pressure);
	else if (head->type == LMK_EVENT_OTHER && size >= sizeof(struct lmk_other_event))
		write_other(data);
	else if (size >= sizeof(struct lmk_end_event))
		write_end(data);
	json_close('}');
	json_end();
	return --*left > 0 ? 0 : -ECANCELED;
}

int lmk_show_events(const char *pin_dir, long count, int timeout_ms)
{
	int fd = pins_get(pin_dir, "maps", "events"), got;
	struct ring_buffer *ring;

	if (fd < 0)
		return fail("map events", fd);
	ring = ring_buffer__new(fd, write_event, &count, NULL);
	if (!ring) {
		close(fd);
		return fail("map events", errno);
	}
	do
		got = ring_buffer__poll(ring, timeout_ms);
	while (got > 0 || got == -EINTR);
	ring_buffer__free(ring);
	close(fd);
	return got == 0 || got == -ECANCELED ? EXIT_OK : fail("map events", got);
}

static int set_element(const char *pin_dir, const char *map, const void *key, const void *value)
{
	int fd = pins_get(pin_dir, "maps", map), error;

	if (fd < 0)
		return fail(map, fd);
	error = bpf_map_update_elem(fd, key, value, BPF_ANY);
	close(fd);
	return error ? fail(map, error) : EXIT_OK;
}

int lmk_set_policy(const char *pin_dir, const char *path)
{
	struct lmk_policy policy;
	FILE *file = fopen(path, "re");
	int call, map, error;
	size_t got;

	if (!file)
		return fail(path, errno);
	got = fread(&policy, 1, sizeof(policy), file);
	fclose(file);
	if (got != sizeof(policy))
		return fail(path, EINVAL);
	call = pins_get(pin_dir, "programs", "lmk_call");
	if (call < 0)
		return fail("program lmk_call", call);
	map = pins_get(pin_dir, "maps", "policy");
	error = map < 0 ? map : put_policy(call, map, &policy);
	if (map >= 0)
		close(map);
	close(call);
	return error ? fail("map policy", error) : EXIT_OK;
}

/* Field 22 of /proc/PID/stat, ticks of 10 ms; the name before it may hold anything. */
static __u64 start_time_ns(int pid)
{
	char path[64], text[1024], *place;
	unsigned long long ticks = 0;
	FILE *file;
	size_t got;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	got = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[got] = '\0';
	place = strrchr(text, ')');
	if (place && sscanf(place + 1,
			    " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
			    "%*d %*d %llu",
			    &ticks) != 1)
		return 0;
	return ticks * 10000000ULL;
}

int lmk_set_protected(const char *pin_dir, int pid)
{
	struct lmk_protected value = {.start_ns = start_time_ns(pid)};
	__s32 key = pid;

	if (!value.start_ns)
		return fail("no such process", ESRCH);
	return set_element(pin_dir, "protected", &key, &value);
}

int lmk_set_agent(const char *pin_dir, int tid)
{
	struct lmk_agent_thread value = {.tid = tid};
	__u32 zero = 0;

	return set_element(pin_dir, "agent", &zero, &value);
}
