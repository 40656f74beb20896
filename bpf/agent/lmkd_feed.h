/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is registered over lmkd's socket, for the handlers: their map `registered` has an entry for
 * each process of which more was said than the kernel knows: another uid than it runs as (an
 * isolated process counts as the app that it belongs to), that it is a service, or an adj that is
 * not written to /proc (Android 17's for_lmkd_only).
 *
 * An entry goes with its record: when that is removed or purged, and when the process was killed.
 * It stays when the client goes, as the record does; when the agent dies, as the handlers do; and
 * is of no account once its process is gone.
 */
#ifndef LMK_AGENT_LMKD_FEED_H
#define LMK_AGENT_LMKD_FEED_H

#include <linux/types.h>
#include <stdbool.h>

#include "lmk/abi.h"
#include "lmkd_registry.h"

/* The maps, which whoever feeds has open. -1: there are no handlers, and nothing is fed. */
struct lmkd_feed {
	int entries;
	int count;
};

/*
 * What the handlers are told of `record`, whose process runs as `uid`; false: nothing, the kernel
 * says the same. The time is left 0.
 */
bool lmkd_feed_entry(const struct lmkd_record *record, __u32 uid, struct lmk_registered *entry);

/*
 * Feeds what `registry` gets to know from now on. First it gets to know what a dead agent had been
 * told: those records are nobody's. 0 or -errno.
 */
int lmkd_feed_open(struct lmkd_registry *registry, const struct lmkd_feed *feed);

/* `record` is new, or was told again. LMKD_TAKEN, or LMKD_REFUSE_FULL: the handlers don't know. */
enum lmkd_refusal lmkd_feed_put(struct lmkd_registry *registry, struct lmkd_record *record);

#endif
