/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmkd as a service of an Android-like init: stopped and started by ctl.* properties, never by a
 * signal of ours. Init starts a service that ends by itself again, and takes one that is critical
 * and does so four times in four minutes for a reason to reboot.
 */
#ifndef LMK_AGENT_LMKD_SERVICE_H
#define LMK_AGENT_LMKD_SERVICE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define LMKD_SOCKET "/dev/socket/lmkd"

/*
 * Can lmkd be replaced here: does an init know it as a service? Probed, not assumed. 0; or
 * -EOPNOTSUPP, with the reason in `why`.
 */
int lmkd_service_probe(char *why, size_t size);

/* Does lmkd run, or is init about to start it? */
bool lmkd_service_runs(void);

/*
 * Has init stop lmkd, and waits until the process has ended and init has cleared its socket
 * away. `ended_ns`: when it ended; 0: none ran. 0 or -errno with the reason in `why`: then init was
 * told to start it again, so that it runs on, or comes back should it end after all.
 */
int lmkd_service_stop(__u64 *ended_ns, char *why, size_t size);

/* Has init start lmkd; one that runs already stays. 0 or -errno. */
int lmkd_service_start(void);

/*
 * Waits for that long until lmkd answers on its socket. `answered_ns`: when it did. 0 or -errno.
 */
int lmkd_service_wait(__u64 patience_ns, __u64 *answered_ns);

#endif
