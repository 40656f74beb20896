/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protected map: agent, guardian, adbd and a running lmkd are never victims, whatever
 * the policy says. daemons.h knows who is adbd and lmkd.
 */
#ifndef LMK_AGENT_PROTECT_H
#define LMK_AGENT_PROTECT_H

#include <linux/types.h>
#include <stdbool.h>
#include <sys/types.h>

#include "bpf_sys.h"

/*
 * Finds them all and makes the map say just that. Watches the daemons with pidfds in
 * `epoll_fd` (SOURCE_PROTECTED): when one of them ends, call this again. `complete` is false
 * while adbd is not there: it may be starting. 0 or -errno.
 */
int protect_refresh(const struct pins *pins, int agent_pid, int guardian_pid, int epoll_fd,
		    bool *complete);

/* Is it the lmkd that was found last? */
bool protect_is_lmkd(pid_t pid, __u64 start_ticks);

/* Was any found? */
bool protect_lmkd_runs(void);

#endif
