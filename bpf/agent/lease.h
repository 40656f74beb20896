/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lease: how long the device stays attached when nobody asks for anything. Its end lies
 * in the shared memory, so that a new agent goes on with the same one and the guardian can
 * enforce it on an agent that hangs.
 */
#ifndef LMK_AGENT_LEASE_H
#define LMK_AGENT_LEASE_H

#include "clock.h"
#include "shared.h"

/* Beyond the lease's end, before the guardian takes the matter out of the agent's hands. */
#define LEASE_GRACE_MS 5000

/* From now on `lease_ms` long; 0: as long as it was. Without a lease, only a length gives one. */
static inline void lease_renew(struct shared *shared, __u64 lease_ms)
{
	if (lease_ms)
		shared->lease_ms = lease_ms;
	if (shared->lease_ms)
		shared->lease_end_ns = boottime_ns() + shared->lease_ms * NSEC_PER_MSEC;
}

static inline __u64 lease_left_ms(const struct shared *shared)
{
	__u64 now_ns = boottime_ns(), end_ns = shared->lease_end_ns;

	return end_ns > now_ns ? (end_ns - now_ns) / NSEC_PER_MSEC : 0;
}

static inline int lease_ended(const struct shared *shared)
{
	return shared->lease_ms && boottime_ns() >= shared->lease_end_ns;
}

#endif
