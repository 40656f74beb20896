// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench spin: no CPU of the device ever rests. It takes only what nobody else wants
 * (SCHED_IDLE), and is there for emulated devices whose clock goes by the instructions that they
 * execute: while all their CPUs rest, that clock goes by the host's, and so by what else the host
 * does.
 *
 * Event: "start" {"cpus": how many}.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bench.h"
#include "host.h"
#include "identity.h"
#include "lines.h"
#include "options.h"

static int64_t lease_s;

static const struct bench_option table[] = {
	{"lease-s", &lease_s, NULL, 0, 3600, "end when no byte came on stdin for that long"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

/* Never returns. */
static void spin_on(int cpu)
{
	struct sched_param priority = {.sched_priority = 0};
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET((size_t)cpu, &only);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() == 1 ||
	    sched_setaffinity(0, sizeof(only), &only) ||
	    sched_setscheduler(0, SCHED_IDLE, &priority))
		_exit(1);
	/*
	 * An emulator passes over several at a time: as many as take it, on a host of today, about
	 * as long as they count for.
	 */
	for (;;)
		__asm__ volatile(".rept 8\n\tnop\n\t.endr");
}

int run_spin(int argc, char **argv)
{
	cpu_set_t mine;
	int cpus = 0;

	if (take_options(argc, argv, table) != argc)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)set_adj(-1000);
	if (sched_getaffinity(0, sizeof(mine), &mine)) {
		say_error(-errno, "cannot tell the CPUs");
		return 1;
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		pid_t child;

		if (!CPU_ISSET((size_t)cpu, &mine))
			continue;
		child = fork();
		if (child < 0) {
			say_error(-errno, "cannot fork");
			return 1;
		}
		if (child == 0)
			spin_on(cpu);
		cpus++;
	}
	host_begin(lease_s, NULL);
	say("{\"event\":\"start\",\"time_ns\":%llu,\"cpus\":%d}", (unsigned long long)boottime_ns(),
	    cpus);
	while (host_lives(-1))
		;
	/* The children end with this process. */
	return 0;
}
