// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench: what `tools/bench killers` runs on a device besides the population.
 *
 *     lmk-bench probe …       a foreground process that has a deadline every few milliseconds
 *     lmk-bench reader …      a process that reads a file or disk round and round
 *     lmk-bench watch …       what the kernel says of memory, and how large processes are
 *     lmk-bench spin …        no CPU ever rests
 *     lmk-bench level …       a killer that goes by a plain level of memory
 *     lmk-bench guard …       starts a killer, says what it uses, ends it with the host
 *     lmk-bench adjust …      changes oom_score_adj over lmkd's socket as fast as is wanted
 *     lmk-bench register …    tells an lmkd of processes, as ActivityManager does
 *
 * Each says its options with --help. JSON lines on stdout; they end when stdin closes.
 */
#include <stdio.h>
#include <string.h>

#include "bench.h"

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{"adjust", run_adjust}, {"guard", run_guard},	{"level", run_level},
		{"probe", run_probe},	{"reader", run_reader}, {"register", run_register},
		{"spin", run_spin},	{"watch", run_watch},
	};

	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc, argv);
	fprintf(stderr, "usage: lmk-bench adjust|probe|reader|watch|spin|level|guard|register …\n");
	return 2;
}
