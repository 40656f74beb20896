/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The deciding thread: SCHED_FIFO 1. Asleep until the handlers have something to say; while
 * memory is short it runs their decision again at the interval they ask for; a kill it
 * releases and follows at once (follow.h). It never waits for the main thread: kills that find
 * every slot taken stay in the ring until one is free.
 */
#ifndef LMK_AGENT_DECIDE_THREAD_H
#define LMK_AGENT_DECIDE_THREAD_H

#include <linux/types.h>
#include <stdbool.h>

#include "bpf_sys.h"
#include "shared.h"

struct decider;

/*
 * Starts the thread. `event` (eventfd) is written when a kill's slot is KILL_DONE or pressure
 * began. NULL with errno on failure.
 */
struct decider *decider_start(const struct pins *pins, struct shared *shared, int event);

/* Ends the thread; what it followed becomes KILL_DONE as far as it got. */
void decider_stop(struct decider *decider);

/*
 * After decider_stop(): takes what is left in the ring. False: the slots are full of KILL_DONE
 * again; free them and call once more.
 */
bool decider_drain(struct decider *decider);

/* Did pressure begin since this was asked last? */
bool decider_pressure_began(struct decider *decider);

/* Runs of the decision by this thread. */
__u64 decider_decisions(const struct decider *decider);

#endif
