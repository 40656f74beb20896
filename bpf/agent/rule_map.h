/* SPDX-License-Identifier: Apache-2.0 */
/* The handlers' map `rules`: what rules resolve to, under the generation of their policy. */
#ifndef LMK_AGENT_RULE_MAP_H
#define LMK_AGENT_RULE_MAP_H

#include <linux/types.h>
#include <stdbool.h>

#include "bpf_sys.h"
#include "lmk/abi.h"
#include "lmk/v1/policy.pb.h"

/* Who is looked at: the rules of `policy`, resolved under `generation`. */
struct rule_scope {
	const struct pins *pins;
	const lmk_v1_Policy *policy;
	__u32 generation;
	__u64 look; /* LMK_RULE_CGROUP: which of all looks this is */
	int error;  /* the first */
};

/* 0 or -errno. */
int rule_set(const struct rule_scope *scope, __u32 kind, __u64 id, __u64 start_ns, __u32 place);
void rule_unset(const struct rule_scope *scope, __u32 kind, __u64 id);
/* Removes every entry that `keep` does not want. */
void rule_sweep(const struct rule_scope *scope,
		bool (*keep)(const struct rule_scope *scope, const struct lmk_rule_key *key));

#endif
