// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "assist/assist.h"
#include "load.h"
#include "pins.h"
#include "show.h"

#define LOOK_UP_MS 100

/* Sleeps for `ms`; false: nothing is pinned any more. */
static bool rest(const char *pin_dir, __u32 ms)
{
	bool pinned = true;

	while (ms && pinned) {
		__u32 part = ms < LOOK_UP_MS ? ms : LOOK_UP_MS;
		const struct timespec pause = {.tv_nsec = (long)part * 1000000};

		nanosleep(&pause, NULL);
		ms -= part;
		pinned = pins_exist(pin_dir);
	}
	return pinned;
}

/* As the agent's deciding thread: what must run when memory is gone waits for none. */
static void be_urgent(void)
{
	const struct sched_param first = {.sched_priority = 1};

	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		fprintf(stderr, "lmk-loader: drive: mlockall: %s\n", strerror(errno));
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		fprintf(stderr, "lmk-loader: drive: SCHED_FIFO: %s\n", strerror(errno));
}

int lmk_drive(const char *pin_dir)
{
	struct assist assist = {.call = pins_get(pin_dir, "programs", "lmk_call"),
				.walk = pins_get(pin_dir, "links", "lmk_walk"),
				.iter = -1};
	int error = assist.call < 0 ? assist.call : 0;
	struct lmk_call call = {0};

	be_urgent();
	assist_open_psi(&assist);
	while (!error) {
		call = (struct lmk_call){.op = LMK_OP_RUN};
		assist_prime(&assist);
		error = assist_run(&assist, &call);
		/* Stopped: others may be pinned there by now. */
		if (call.outcome == LMK_OUT_ERROR ||
		    !rest(pin_dir, call.interval_ms ? call.interval_ms : 1))
			break;
	}
	if (!error)
		return EXIT_OK;
	fprintf(stderr, "lmk-loader: drive: %s\n", strerror(-error));
	return EXIT_UNSUPPORTED;
}
