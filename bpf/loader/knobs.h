/* SPDX-License-Identifier: Apache-2.0 */
/* What the handlers are told of the device before they are loaded: their `const volatile`s. */
#ifndef LMK_KNOBS_H
#define LMK_KNOBS_H

#include <stdbool.h>

#include <linux/types.h>

struct bpf_object;
struct btf;

struct knobs {
	__u32 page_kb;
	__u32 node_count;
	__u32 psi_on;
	__u32 count_reclaim;
	__u32 use_timer;
	__u32 use_workqueue;
	__u32 use_task_work;
	__u32 gfp_direct_reclaim_bit;
};

struct knobs find_knobs(const struct btf *btf, bool callbacks);

/* Into the object, before it is loaded. 0 or -errno. */
int set_knobs(struct bpf_object *object, const struct knobs *knobs);

#endif
