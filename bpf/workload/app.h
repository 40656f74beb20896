/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One process of the population: what it looks like, what its parent tells it over a
 * SOCK_SEQPACKET socket, and what it answers.
 */
#ifndef LMK_WORKLOAD_APP_H
#define LMK_WORKLOAD_APP_H

#include <stdint.h>
#include <sys/types.h>

#include "identity.h"

struct app {
	char name[NAME_MAX_LEN + 1];
	uid_t uid;
	int adj;
	uint64_t size_kb;
	unsigned int compressible_pct;
	uint64_t touch_ms; /* to go round all its memory once; 0: never touches it again */
};

struct app_order {
	uint64_t to_kb;		/* grow or shrink to this */
	uint64_t rate_kb_per_s; /* of growth; 0: as fast as it goes */
};

enum app_state {
	APP_GROWING = 1,
	APP_DONE = 2,	/* has the size it was told */
	APP_FAILED = 3, /* could not: `error` says why */
	APP_BECAME = 4, /* has name, uid and oom_score_adj; first of all answers */
};

struct app_answer {
	uint32_t state;
	int32_t error; /* 0 or -errno */
	uint64_t kb;
};

/*
 * Become `app` and serve `socket` until it closes; never returns. For a child just forked:
 * closes every other file and dies with its parent.
 */
__attribute__((noreturn)) void run_app(const struct app *app, int socket, int argc, char **argv);

#endif
