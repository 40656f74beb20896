// SPDX-License-Identifier: Apache-2.0
#include "lmkd_missed.h"

#include <stddef.h>
#include <stdio.h>

#define WAITS_FOR_KILL (1U << LMKD_SUBSCRIBE_KILL)

/* Who never asked for the other packet, as older Androids, has lost nothing with it. */
static void forget(struct lmkd_missed *missed, struct lmkd_missed_kill *kill)
{
	if (kill->waits & WAITS_FOR_KILL)
		missed->dropped++;
	kill->waits = 0;
}

static struct lmkd_missed_kill *place(struct lmkd_missed *missed)
{
	struct lmkd_missed_kill *oldest = &missed->kills[0];

	for (int i = 0; i < LMKD_MISSED; i++) {
		struct lmkd_missed_kill *kill = &missed->kills[i];

		if (!kill->waits)
			return kill;
		if (kill->order < oldest->order)
			oldest = kill;
	}
	forget(missed, oldest);
	return oldest;
}

void lmkd_missed_add(struct lmkd_missed *missed, const struct lmkd_killed *killed, __u32 waits)
{
	struct lmkd_missed_kill *kill = place(missed);

	kill->order = missed->next_order++;
	kill->killed = *killed;
	snprintf(kill->name, sizeof(kill->name), "%s", killed->name);
	/* Of the agent that adds it: who takes it has the list elsewhere. */
	kill->killed.name = NULL;
	kill->waits = waits;
}

const struct lmkd_killed *lmkd_missed_take(struct lmkd_missed *missed, enum lmkd_subscription which,
					   __u64 now_ns)
{
	struct lmkd_missed_kill *first = NULL;

	for (int i = 0; i < LMKD_MISSED; i++) {
		struct lmkd_missed_kill *kill = &missed->kills[i];

		if (kill->waits && now_ns > kill->killed.signalled_ns + LMKD_MISSED_NS)
			forget(missed, kill);
		if (kill->waits & 1U << which && (!first || kill->order < first->order))
			first = kill;
	}
	if (!first)
		return NULL;
	first->waits &= ~(1U << which);
	first->killed.name = first->name;
	return &first->killed;
}
