// SPDX-License-Identifier: Apache-2.0
#include "rule_map.h"

int rule_set(const struct rule_scope *scope, __u32 kind, __u64 id, __u64 start_ns, __u32 place)
{
	struct lmk_rule_key key = {.generation = scope->generation, .kind = kind, .id = id};
	struct lmk_rule_entry entry = {.start_ns = start_ns, .rule = place};

	return bpf_map_set(scope->pins->rules, &key, &entry);
}

void rule_unset(const struct rule_scope *scope, __u32 kind, __u64 id)
{
	struct lmk_rule_key key = {.generation = scope->generation, .kind = kind, .id = id};

	bpf_map_remove(scope->pins->rules, &key); /* -ENOENT is well */
}

void rule_sweep(const struct rule_scope *scope,
		bool (*keep)(const struct rule_scope *scope, const struct lmk_rule_key *key))
{
	struct lmk_rule_key key, next;
	int error = bpf_map_next(scope->pins->rules, NULL, &key);

	while (!error) {
		/* What follows is asked before the key goes: afterwards it has no place. */
		error = bpf_map_next(scope->pins->rules, &key, &next);
		if (!keep(scope, &key))
			bpf_map_remove(scope->pins->rules, &key);
		key = next;
	}
}
