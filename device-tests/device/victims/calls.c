// SPDX-License-Identifier: Apache-2.0
// Who runs the handlers' programs: several at once, by turns with a swap of the policy, by hand.
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "assist/assist.h"
#include "assist/bpf_call.h"
#include "assist/put_policy.h"
#include "lmk/abi.h"
#include "victims.h"

static void die_of(const char *what, int error)
{
	errno = -error;
	die(what);
}

static int open_pin(const char *pin)
{
	union bpf_attr attr = {.pathname = (uintptr_t)pin};
	int fd = bpf_call(BPF_OBJ_GET, &attr);

	if (fd < 0)
		die_of(pin, fd);
	return fd;
}

static void run_program(int program, struct lmk_call *call)
{
	int error = bpf_call_program(program, call);

	if (error)
		die_of("BPF_PROG_TEST_RUN", error);
}

/* What is pinned below `pins`, for assist_run(). */
static struct assist open_handlers(const char *pins)
{
	struct assist assist = {.walk = -1, .iter = -1};
	char path[256];

	snprintf(path, sizeof(path), "%s/programs/lmk_call", pins);
	assist.call = open_pin(path);
	snprintf(path, sizeof(path), "%s/links/lmk_walk", pins);
	if (!access(path, F_OK))
		assist.walk = open_pin(path);
	assist_open_psi(&assist);
	return assist;
}

static struct {
	struct assist assist;
	pthread_barrier_t start;
	__u32 outcomes[LMK_OUT_MAX];
} contest;

static void *contestant(void *nothing)
{
	struct assist assist = contest.assist;
	struct lmk_call call = {0};

	(void)nothing;
	pthread_barrier_wait(&contest.start);
	if (assist_run(&assist, &call))
		die("BPF_PROG_TEST_RUN");
	__sync_fetch_and_add(&contest.outcomes[call.outcome], 1);
	return NULL;
}

int race(const char *pins, int threads)
{
	pthread_t ids[64];

	contest.assist = open_handlers(pins);
	pthread_barrier_init(&contest.start, NULL, (unsigned int)threads);
	for (int i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, contestant, NULL);
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	for (int i = 0; i < LMK_OUT_MAX; i++)
		printf("%u ", contest.outcomes[i]);
	puts("");
	return 0;
}

static struct {
	struct assist assist;
	struct lmk_policy policy[2];
	int map;
	volatile bool over;
	volatile unsigned int of[2], of_neither;
} turns;

static void read_policy(const char *path, struct lmk_policy *policy)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, policy, sizeof(*policy)) != sizeof(*policy))
		die(path);
	close(fd);
}

/*
 * Everything in the answer that comes from the policy alone, from its first steps to its last.
 * There is no reason while stall is not known.
 */
static bool is_of(const struct lmk_call *call, const struct lmk_policy *policy)
{
	const struct lmk_verdict *verdict = &call->verdict;

	return verdict->some_limit_us == policy->stall_psi_partial_stall_ms * 1000ULL &&
	       verdict->full_limit_us == policy->stall_psi_complete_stall_ms * 1000ULL &&
	       verdict->reclaim_limit_us == policy->reclaim_direct_reclaim_threshold_ms * 1000ULL &&
	       verdict->filecache_limit_kb == policy->thrashing_filecache_min_kb &&
	       verdict->swap_util_limit_pct == policy->swap_swap_util_max_pct &&
	       (!verdict->reason || verdict->floor == policy->stall_partial_stall_min_score) &&
	       (call->budget_left < 0) == !policy->kills_max_per_minute;
}

static void *decide_by_turns(void *nothing)
{
	(void)nothing;
	while (!turns.over) {
		struct lmk_call call = {0};

		if (assist_run(&turns.assist, &call))
			die("BPF_PROG_TEST_RUN");
		if (call.outcome == LMK_OUT_CLAIMED)
			continue;
		if (is_of(&call, &turns.policy[0]))
			turns.of[0]++;
		else if (is_of(&call, &turns.policy[1]))
			turns.of[1]++;
		else
			turns.of_neither++;
	}
	return NULL;
}

/* What is in force is overwritten: the same bytes, but for those that are to change. */
static int put_in_place(const struct lmk_policy *policy)
{
	int error = 0;

	for (__u32 slot = 0; slot < LMK_POLICY_SLOTS && !error; slot++) {
		union bpf_attr attr = {.map_fd = (__u32)turns.map,
				       .key = (uintptr_t)&slot,
				       .value = (uintptr_t)policy};

		error = bpf_call(BPF_MAP_UPDATE_ELEM, &attr);
	}
	return error;
}

int policies(char **words)
{
	bool in_place = !strcmp(words[4], "in-place");
	int times = atoi(words[3]);
	pthread_t decider;
	char map[256];
	int error;

	turns.assist = open_handlers(words[0]);
	snprintf(map, sizeof(map), "%s/maps/policy", words[0]);
	turns.map = open_pin(map);
	read_policy(words[1], &turns.policy[0]);
	read_policy(words[2], &turns.policy[1]);
	/* One mixture is enough where one is looked for. */
	for (int i = 0; i < times && !(in_place && turns.of_neither); i++) {
		const struct lmk_policy *policy = &turns.policy[i & 1];

		error = in_place ? put_in_place(policy)
				 : put_policy(turns.assist.call, turns.map, policy);
		if (error)
			die_of("policy", error);
		/* From the first on: what was in force before is neither. */
		if (!i && pthread_create(&decider, NULL, decide_by_turns, NULL))
			die("pthread_create");
	}
	turns.over = true;
	pthread_join(decider, NULL);
	printf("%u %u %u\n", turns.of[0], turns.of[1], turns.of_neither);
	return 0;
}

int trap(const char *pin, const char *op, const char *pid)
{
	struct lmk_call call = {.op = (__u32)atoi(op), .pid = atoi(pid)};

	run_program(open_pin(pin), &call);
	printf("%d %u %d\n", call.result, call.outcome, call.victim_pid);
	return 0;
}

/* One step of the assisted path's conversation, and nothing that it asks for. */
int ask(char **words)
{
	/* Some kernels do not let BPF see the stall: it is told, that there is none. */
	struct lmk_call call = {.op = (__u32)atoi(words[0]), .tells_psi = 1};

	call.pid = atoi(words[1]);
	call.token = strtoull(words[2], NULL, 10);
	call.kill_id = strtoull(words[3], NULL, 10);
	call.kill_result = atoi(words[4]);
	run_program(open_pin(words[-1]), &call);
	printf("%d %u %d %llu %llu\n", call.result, call.outcome, call.victim_pid, call.token,
	       call.kill_id);
	return 0;
}
