/* SPDX-License-Identifier: Apache-2.0 */
/* The two clocks of the protocol: nanoseconds since boot, and of the calendar. */
#ifndef LMK_AGENT_CLOCK_H
#define LMK_AGENT_CLOCK_H

#include <linux/types.h>
#include <time.h>

#define NSEC_PER_USEC 1000ULL
#define NSEC_PER_MSEC 1000000ULL
#define NSEC_PER_SEC  1000000000ULL

static inline __u64 clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now); /* cannot fail: both clocks exist on every Linux */
	return (__u64)now.tv_sec * NSEC_PER_SEC + (__u64)now.tv_nsec;
}

static inline __u64 boottime_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

static inline __u64 realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

#endif
