/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a population: started, told what to do, heard, buried. Each thing that
 * happens to one is a line for the host; together they are the record of lives and deaths.
 *
 * Each child is watched by its pidfd in one epoll set, whose ready list keeps the order in
 * which they died (waitpid(-1) would give the order in which they were born).
 */
#ifndef LMK_WORKLOAD_PROCESSES_H
#define LMK_WORKLOAD_PROCESSES_H

#include <stddef.h>
#include <stdint.h>

#include "app.h"

#define PROCESSES_MAX 4096
/* Files that stay open for each: its pidfd, and the socket to it. */
#define PROCESS_FILES 2

struct process;

/* Where their ends and answers are waited for; argc and argv give them room for their names. */
void processes_init(int epoll, int argc, char **argv);

/* One more row of the table, not started; 0 or -ENOSPC. */
int processes_add(const struct app *app);

/*
 * Start one that is not in the table, or a dead one again as `app`. It gives its place up when
 * it is dead. 0, -EEXIST when one of that name lives, or -errno.
 */
int processes_spawn(const struct app *app);

/* Start all of the table that are dead, one after the other. -EBUSY: that goes on already. */
int processes_fill(void);

/* End all: they exit by themselves, and are killed when they take too long. */
void processes_quit(void);

/* Whether all are dead after processes_quit(). To be asked now and then: it is its clock. */
int processes_over(void);

/* One "process" line for each, alive or not, and "listed". */
void processes_list(void);

/* What epoll_wait() gave for one of them; `key` is epoll_event.data.u64. */
void processes_ready(uint64_t key);

/* By name; NULL when there is none. A dead one is still found until its place is taken. */
struct process *process_named(const char *name);

/*
 * Orders. One that is dead, or dies of it, is no error: "gone" says so for the first, "exit"
 * for the second. 0 or -errno.
 */
int process_grow(struct process *process, uint64_t kb, uint64_t rate_kb_per_s);
int process_shrink(struct process *process); /* to the size of its row */
int process_adj(struct process *process, int adj);
int process_exit(struct process *process); /* by itself, as soon as it hears of it */

/* For who waits on a descriptor of its own in the same epoll set; `number` from 0 on. */
#define PROCESSES_KEY_OTHER(number) ((uint64_t)PROCESSES_MAX * 2 + (number))

#endif
