/* SPDX-License-Identifier: Apache-2.0 */
/* The memory of the device as /proc tells it, line by line for the host. */
#ifndef LMK_WORKLOAD_VITALS_H
#define LMK_WORKLOAD_VITALS_H

#include <stdint.h>

/*
 * Say one "vitals" line: free, available and free swap in KiB, memory stall since boot in
 * microseconds (absent where the kernel does not count it), kills by the kernel's own OOM killer.
 * 0 or -errno.
 */
int say_vitals(uint64_t time_ns);

#endif
