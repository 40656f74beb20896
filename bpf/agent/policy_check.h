/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is a policy complete and free of contradictions? The host checks more kindly; this is the
 * last line before the handlers read it.
 */
#ifndef LMK_AGENT_POLICY_CHECK_H
#define LMK_AGENT_POLICY_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "lmk/v1/policy.pb.h"

/* Decodes and checks. On false, `why` names the field and what is wrong with it. */
bool policy_decode(const void *bytes, size_t length, lmk_v1_Policy *policy, char *why,
		   size_t why_size);
bool policy_check(const lmk_v1_Policy *policy, char *why, size_t why_size);

#endif
