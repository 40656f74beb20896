// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-eater: eats memory, to the size it is told and at the rate it is told, and holds it.
 *
 * It never takes MemAvailable below a floor unless told to (--floor-mb 0), and it ends when
 * its stdin or stdout closes: memory is not held for a host that has gone. A host whose link
 * may fall silent without closing sends a byte now and then and gives --lease-s.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "identity.h"
#include "lines.h"
#include "memory.h"

#define STEP_KB	      1024 /* MemAvailable is looked at before each: 1 MB in 10 ms at most */
#define TICK_MS	      10
#define HOLD_TICK_MS  100
#define SAY_NS	      200000000u
#define TOUCH_ROUND_S 1
/* Default floor: what a device needs to stay usable while someone looks at it. */
#define FLOOR_PCT    5
#define FLOOR_MIN_KB (32 * 1024)

static struct {
	int64_t size_mb, rate_mb_per_s, adj, uid, compressible_pct, hold_s, floor_mb, lease_s;
	int touch;
	const char *name;
} options = {
	.adj = 900,
	.uid = -1,
	.compressible_pct = HALF_COMPRESSIBLE_PCT,
	.hold_s = -1,
	.floor_mb = -1,
};

static uint64_t heard_ns; /* when the host was last heard of */

enum option_key {
	OPT_SIZE = 256,
	OPT_RATE,
	OPT_ADJ,
	OPT_UID,
	OPT_COMPRESSIBLE,
	OPT_HOLD,
	OPT_FLOOR,
	OPT_LEASE,
	OPT_TOUCH,
	OPT_NAME,
};

static const struct {
	struct option option;
	int64_t *value;
	int64_t first, last;
	const char *help;
} table[] = {
	{{"size-mb", 1, NULL, OPT_SIZE}, &options.size_mb, 1, 65536, "how much, MiB"},
	{{"rate-mb-per-s", 1, NULL, OPT_RATE},
	 &options.rate_mb_per_s,
	 0,
	 65536,
	 "how fast, MiB/s; 0: as fast as it goes (default)"},
	{{"adj", 1, NULL, OPT_ADJ}, &options.adj, -1000, 1000, "oom_score_adj (900)"},
	{{"uid", 1, NULL, OPT_UID}, &options.uid, 0, INT32_MAX, "uid to run as (unchanged)"},
	{{"compressible-pct", 1, NULL, OPT_COMPRESSIBLE},
	 &options.compressible_pct,
	 0,
	 100,
	 "share of each page that compresses (50)"},
	{{"hold-s", 1, NULL, OPT_HOLD},
	 &options.hold_s,
	 -1,
	 1000000,
	 "seconds to hold it; -1: until stdin closes (default)"},
	{{"floor-mb", 1, NULL, OPT_FLOOR},
	 &options.floor_mb,
	 -1,
	 65536,
	 "MemAvailable not to cross, MiB; 0: none; -1: 5 %, at least 32 (default)"},
	{{"lease-s", 1, NULL, OPT_LEASE},
	 &options.lease_s,
	 0,
	 3600,
	 "end when no byte came on stdin for that long; 0: never (default)"},
	{{"touch", 0, NULL, OPT_TOUCH}, NULL, 0, 0, "keep touching it while holding"},
	{{"name", 1, NULL, OPT_NAME}, NULL, 0, 0, "command line and comm to show"},
};

#define OPTIONS (sizeof(table) / sizeof(table[0]))

static int help(void)
{
	printf("usage: lmk-eater --size-mb N [options]\n");
	for (size_t i = 0; i < OPTIONS; i++)
		printf("  --%-18s %s\n", table[i].option.name, table[i].help);
	return 0;
}

/* Only events: adbd's exec: has stdout and stderr in one stream, which the host parses. */
static int usage(const char *problem, const char *argument)
{
	say_error(0, "%s%s%s", problem, argument ? " " : "", argument ? argument : "");
	return 2;
}

static int parse(int argc, char **argv)
{
	struct option longs[OPTIONS + 1];
	int key;

	memset(longs, 0, sizeof(longs));
	for (size_t i = 0; i < OPTIONS; i++)
		longs[i] = table[i].option;
	opterr = 0;
	while ((key = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		size_t which = (size_t)(key - OPT_SIZE);

		if (key < OPT_SIZE)
			return usage("unknown option or missing value:", argv[optind - 1]);
		if (key == OPT_TOUCH)
			options.touch = 1;
		else if (key == OPT_NAME)
			options.name = optarg;
		else if (parse_number(optarg, table[which].first, table[which].last,
				      table[which].value))
			return usage("bad value for", table[which].option.name);
	}
	if (optind < argc)
		return usage("unexpected argument", argv[optind]);
	if (!options.size_mb)
		return usage("--size-mb is missing", NULL);
	if (options.name && !name_is_valid(options.name))
		return usage("bad value for", "name");
	return 0;
}

static void take_line(char *line)
{
	(void)line; /* nothing to ask of an eater: any byte says that the host lives */
}

/* Wait on stdin; 0 when the host has gone. */
static int host_lives(int timeout_ms)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

	if (poll(&in, 1, timeout_ms) > 0) {
		if (in.revents & POLLIN) {
			if (read_lines(take_line) <= 0)
				return 0;
			heard_ns = boottime_ns();
		} else {
			return 0;
		}
	}
	return !options.lease_s ||
	       boottime_ns() - heard_ns < (uint64_t)options.lease_s * 1000000000u;
}

static void say_progress(const char *event, uint64_t available_kb)
{
	say("{\"event\":\"%s\",\"time_ns\":%llu,\"pid\":%d,\"kb\":%llu,\"target_kb\":%llu,"
	    "\"available_kb\":%llu,\"floor_kb\":%llu}",
	    event, (unsigned long long)boottime_ns(), (int)getpid(),
	    (unsigned long long)memory_kb(), (unsigned long long)options.size_mb * 1024,
	    (unsigned long long)available_kb, (unsigned long long)options.floor_mb * 1024);
}

/* 1: grown to its size, or stopped at the floor; 0: the host has gone; -errno. */
static int grow(void)
{
	uint64_t target_kb = (uint64_t)options.size_mb * 1024;
	uint64_t floor_kb = (uint64_t)options.floor_mb * 1024;
	uint64_t begin_ns = boottime_ns(), said_ns = 0;
	uint64_t total_kb, available_kb;
	int error;

	while (memory_kb() < target_kb) {
		uint64_t due_kb = growth_due_kb((uint64_t)options.rate_mb_per_s * 1024, begin_ns,
						memory_kb(), STEP_KB);

		if (due_kb > target_kb - memory_kb())
			due_kb = target_kb - memory_kb();
		error = device_memory(&total_kb, &available_kb);
		if (error)
			return error;
		if (floor_kb && available_kb < floor_kb + due_kb) {
			say_progress("floor", available_kb);
			return 1;
		}
		error = memory_grow(due_kb);
		if (error)
			return error;
		if (boottime_ns() - said_ns >= SAY_NS) {
			said_ns = boottime_ns();
			say_progress("grow", available_kb);
		}
		/* Who is behind its rate does not wait. */
		if (!host_lives(options.rate_mb_per_s && due_kb < STEP_KB ? TICK_MS : 0))
			return 0;
	}
	say_progress("grown", available_kb);
	return 1;
}

static void hold(void)
{
	uint64_t begin_ns = boottime_ns(), said_ns = begin_ns;
	uint64_t total_kb, available_kb;

	while (options.hold_s < 0 ||
	       boottime_ns() - begin_ns < (uint64_t)options.hold_s * 1000000000u) {
		if (options.touch)
			memory_touch(memory_kb() * HOLD_TICK_MS / (TOUCH_ROUND_S * 1000));
		if (!host_lives(HOLD_TICK_MS))
			return;
		if (boottime_ns() - said_ns >= 5 * SAY_NS) {
			said_ns = boottime_ns();
			if (!device_memory(&total_kb, &available_kb))
				say_progress("hold", available_kb);
		}
	}
}

int main(int argc, char **argv)
{
	uint64_t total_kb, available_kb, ticks = 0;
	int error;

	if (argc == 2 && !strcmp(argv[1], "--help"))
		return help();
	error = parse(argc, argv);
	if (error)
		return error;
	error = device_memory(&total_kb, &available_kb);
	if (error) {
		say_error(error, "cannot read /proc/meminfo");
		return 1;
	}
	if (options.floor_mb < 0) {
		uint64_t floor_kb = total_kb * FLOOR_PCT / 100;

		options.floor_mb =
			(int64_t)(floor_kb > FLOOR_MIN_KB ? floor_kb : FLOOR_MIN_KB) / 1024;
	}
	error = set_adj((int)options.adj);
	if (error) {
		say_error(error, "cannot set oom_score_adj %d (below 0 needs root)",
			  (int)options.adj);
		return 1;
	}
	if (options.uid >= 0) {
		error = set_uid((uid_t)options.uid);
		if (error) {
			say_error(error, "cannot become uid %d", (int)options.uid);
			return 1;
		}
	}
	memory_set_compressible((unsigned int)options.compressible_pct);
	if (options.name)
		set_name(argc, argv, options.name);
	error = start_ticks(getpid(), &ticks);
	if (error) {
		say_error(error, "cannot read the own start time");
		return 1;
	}
	heard_ns = boottime_ns();
	say("{\"event\":\"start\",\"time_ns\":%llu,\"pid\":%d,\"start_ticks\":%llu,\"uid\":%u,"
	    "\"adj\":%d,\"available_kb\":%llu,\"total_kb\":%llu,\"floor_kb\":%llu}",
	    (unsigned long long)heard_ns, (int)getpid(), (unsigned long long)ticks, getuid(),
	    (int)options.adj, (unsigned long long)available_kb, (unsigned long long)total_kb,
	    (unsigned long long)options.floor_mb * 1024);

	error = grow();
	if (error < 0) {
		say_error(error, "cannot map more at %llu MB",
			  (unsigned long long)memory_kb() / 1024);
		return 1;
	}
	if (error)
		hold();
	say("{\"event\":\"end\",\"time_ns\":%llu,\"kb\":%llu}", (unsigned long long)boottime_ns(),
	    (unsigned long long)memory_kb());
	return 0;
}
