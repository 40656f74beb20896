/* SPDX-License-Identifier: Apache-2.0 */
/* bpf(2) without libbpf: the pins, maps and SYSCALL programs of the handlers. */
#ifndef LMK_AGENT_BPF_SYS_H
#define LMK_AGENT_BPF_SYS_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "assist/assist.h"
#include "lmk/abi.h"

/* What of LMK_PIN_DIR the agent uses; -1: not open. */
struct pins {
	int policy;
	int counters;
	int protected;
	int rules;
	int registered;
	int registered_count;
	int renamed;
	__u32 renamed_bytes;
	int cached;
	__u32 cached_bytes;
	int agent;
	int carriers;
	int events;
	__u32 events_bytes;
	int call;
	int walk; /* -1 also where the handlers walk by themselves */
};

/* What the kernel counted for a program. */
struct program_cost {
	char name[32];
	__u64 runs;
	__u64 run_time_ns;
	__u64 recursion_misses;
};

/* 0, or -errno: then `missing` is the pin that could not be opened, and none is open. */
int pins_open(struct pins *pins, const char **missing);
void pins_close(struct pins *pins);
/* Is anything pinned there? */
bool pins_present(void);
/* Unpins everything, links first, and removes the directories. 0 or the first -errno. */
int pins_remove(void);

/* Writes element 0 of an array, or element `key` of a hash. 0 or -errno. */
int bpf_map_set(int map, const void *key, const void *value);
int bpf_map_get(int map, const void *key, void *value);
int bpf_map_remove(int map, const void *key);
/* `key` NULL: the first one. -ENOENT: no more. */
int bpf_map_next(int map, const void *key, void *next);

/* Runs the SYSCALL program on `call` (op says what for), which comes back as the program left it. 0
 * or -errno. */
int bpf_run(int program, struct lmk_call *call);

/*
 * The same for what may end in a walk or a kill (LMK_OP_RUN, LMK_OP_VENDOR, LMK_OP_STATUS with
 * candidates, LMK_OP_SELF_TEST): does user space's half of it. Any thread.
 */
int bpf_run_whole(const struct pins *pins, struct lmk_call *call);

/* Swaps the policy in force for this one, atomically (assist/put_policy.h). 0 or -errno. */
int bpf_put_policy(const struct pins *pins, const struct lmk_policy *policy);
int bpf_policy_in_force(const struct pins *pins, struct lmk_policy *policy);

/* Costs of pinned programs. Returns how many, at most `max`. */
unsigned int bpf_program_costs(struct program_cost *costs, unsigned int max);

/*
 * Has the kernel count runs and run time of programs for as long as the descriptor that this
 * returns is open. Or -errno.
 */
int bpf_count_costs(void);

/* Has the handlers decide and report, but not kill. 0 or -errno. */
int bpf_dry_run(void);
/* No tick and no decision after this. 0 or -errno. */
int bpf_stop(void);

#endif
