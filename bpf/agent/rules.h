/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules for apps by name: which uids packages have, which processes have a name and which cgroups
 * there are, found out on the device for the handlers' map `rules`. For the main thread.
 *
 * Whatever a policy's rules resolve to lies in the map under the policy's generation before the
 * policy is put in force, so the handlers have the old rules or the new, never half of each.
 */
#ifndef LMK_AGENT_RULES_H
#define LMK_AGENT_RULES_H

#include "agent.h"

/* Resolves the rules of `policy` under the next generation, named in `view`. 0 or -errno. */
int rules_prepare(struct agent *agent, const lmk_v1_Policy *policy, struct lmk_policy *view);
/* agent->policy is the one that was prepared, and in force: what the last one left goes. */
void rules_settle(struct agent *agent);

/* Looks at all processes and cgroups anew, and for the list of packages where it was missing. */
void rules_refresh(struct agent *agent);
/* After SOURCE_PACKAGES. */
void rules_hear_packages(struct agent *agent);
/* After SOURCE_RENAMED. */
void rules_hear_renamed(struct agent *agent);
/* A process whose name may be one that a rule is for. */
void rules_look_at_process(struct agent *agent, pid_t pid);
/* After SOURCE_CGROUPS. */
void rules_hear_cgroups(struct agent *agent);
/* Looks at cgroups anew once that is due; returns when it is, 0: nothing is new. */
__u64 rules_look_at_new(struct agent *agent, __u64 now_ns);

/* Of the policy in force. */
__u32 rules_generation(void);
/* The app id of the package that rule `index` is for; negative: not installed, or no package. */
__s32 rules_app_id(unsigned int index);

/* Is there a rule that only the agent can resolve? */
bool rules_need_agent(const lmk_v1_Policy *policy);
/* Whom rule `place` (from 1) is for: "package com.example". Empty: there is no such rule. */
void rules_describe(const lmk_v1_Policy *policy, __u32 place, char *text, size_t size);

#endif
