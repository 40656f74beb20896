// SPDX-License-Identifier: Apache-2.0
#include "put_policy.h"

#include <stdbool.h>

#include "bpf_call.h"

/*
 * A decision takes milliseconds; who has died with the claim loses it after a second. Longer than
 * that, in steps.
 */
#define CLAIM_TRIES   2000
#define CLAIM_STEP_US 1000

/* Nobody has been in the slot that is not in force since it was last in force. */
static bool slot_is_free;

static __u64 address(const void *pointer)
{
	return (__u64)(unsigned long)pointer;
}

static int make_map(enum bpf_map_type type, int inner)
{
	union bpf_attr attr = {.map_type = (__u32)type,
			       .key_size = sizeof(__u32),
			       .value_size = sizeof(__u32),
			       .max_entries = 1};

	if (inner >= 0)
		attr.inner_map_fd = (__u32)inner;
	return bpf_call(BPF_MAP_CREATE, &attr);
}

static int set_element(int map, __u32 key, const void *value)
{
	union bpf_attr attr = {.map_fd = (__u32)map, .key = address(&key), .value = address(value)};

	return bpf_call(BPF_MAP_UPDATE_ELEM, &attr);
}

/*
 * The kernel returns from an update of a map of maps when every program has ended that was running
 * (maybe_wait_bpf_programs()); any such map will do. SYSCALL programs are not among them: they go
 * by a policy only under the claim.
 */
static int wait_for_programs(void)
{
	int inner = make_map(BPF_MAP_TYPE_ARRAY, -1), outer, error;

	if (inner < 0)
		return inner;
	outer = make_map(BPF_MAP_TYPE_ARRAY_OF_MAPS, inner);
	error = outer;
	if (outer >= 0) {
		error = set_element(outer, 0, &inner);
		close(outer);
	}
	close(inner);
	return error;
}

/* The slot in force, or -errno. */
static int slot_in_force(int call)
{
	struct lmk_call ask = {.op = LMK_OP_POLICY};
	int error = bpf_call_program(call, &ask);

	if (!error)
		error = ask.result;
	if (!error && ask.policy_slot >= LMK_POLICY_SLOTS)
		error = -EINVAL;
	return error ? error : (int)ask.policy_slot;
}

static int put_slot_in_force(int call, __u32 slot)
{
	int error = -EBUSY;

	for (int i = 0; i < CLAIM_TRIES && error == -EBUSY; i++) {
		struct lmk_call put = {.op = LMK_OP_SET_POLICY, .policy_slot = slot};

		if (i)
			usleep(CLAIM_STEP_US);
		error = bpf_call_program(call, &put);
		if (!error)
			error = put.result;
	}
	return error;
}

int put_policy(int call, int map, const struct lmk_policy *policy)
{
	int slot = slot_in_force(call), error = 0;

	if (slot < 0)
		return slot;
	slot = !slot;
	if (!slot_is_free)
		error = wait_for_programs();
	slot_is_free = !error;
	if (!error)
		error = set_element(map, (__u32)slot, policy);
	if (!error)
		error = put_slot_in_force(call, (__u32)slot);
	if (error)
		return error;
	/* In force now, whatever this says: then the next one waits before it writes. */
	slot_is_free = !wait_for_programs();
	return 0;
}

int policy_in_force(int call, int map, struct lmk_policy *policy)
{
	int slot = slot_in_force(call);
	__u32 key = (__u32)slot;
	union bpf_attr attr = {
		.map_fd = (__u32)map, .key = address(&key), .value = address(policy)};

	return slot < 0 ? slot : bpf_call(BPF_MAP_LOOKUP_ELEM, &attr);
}
