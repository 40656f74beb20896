// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench reader: reads a file (or a disk) round and round, as an app in front that plays or
 * scrolls does. When memory is short the kernel drops those pages, and each is read again.
 *
 * Events: "start", "end" {"rounds": how often it went round}.
 */
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"
#include "file_pages.h"
#include "host.h"
#include "identity.h"
#include "lines.h"
#include "options.h"

#define TICK_MS	    10
#define LATE_MAX_US 100000

static int64_t adj, uid = -1, file_kb = 1024, round_ms = 1000, lease_s;
static const char *name = "com.example.reader", *file = "";

static const struct bench_option table[] = {
	{"name", NULL, &name, 0, 0, "command line and comm to show"},
	{"adj", &adj, NULL, -1000, 1000, "oom_score_adj (0)"},
	{"uid", &uid, NULL, 0, INT32_MAX, "uid to run as (unchanged)"},
	{"file", NULL, &file, 0, 0, "what to read"},
	{"file-kb", &file_kb, NULL, 4, 4194304, "how much of it (1024)"},
	{"round-ms", &round_ms, NULL, 10, 60000, "time to go round it once (1000)"},
	{"lease-s", &lease_s, NULL, 0, 3600, "end when no byte came on stdin for that long"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

static int become(int argc, char **argv)
{
	int error;

	set_name(argc, argv, name);
	error = set_adj((int)adj);
	if (!error && uid >= 0)
		error = set_uid((uid_t)uid);
	return error;
}

int run_reader(int argc, char **argv)
{
	uint64_t last_ns, read_us = 0;
	int error;

	if (take_options(argc, argv, table) != argc)
		return 2;
	if (!name_is_valid(name)) {
		say_error(0, "bad value for name");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	/* As root still: a disk is root's. */
	file_pages_of(file);
	error = file_pages_map((uint64_t)file_kb);
	if (error) {
		say_error(error, "cannot read %s", file);
		return 1;
	}
	error = become(argc, argv);
	if (error) {
		say_error(error, "cannot become %s", name);
		return 1;
	}
	host_begin(lease_s, NULL);
	last_ns = boottime_ns();
	say("{\"event\":\"start\",\"time_ns\":%llu}", (unsigned long long)last_ns);
	while (host_lives(TICK_MS)) {
		uint64_t now_ns = boottime_ns(), elapsed_us = (now_ns - last_ns) / 1000;

		/* What a stall cost is not made up for: it would never end. */
		if (elapsed_us > LATE_MAX_US)
			elapsed_us = LATE_MAX_US;
		last_ns = now_ns;
		read_us += elapsed_us;
		file_pages_touch(elapsed_us * (uint64_t)file_kb / ((uint64_t)round_ms * 1000));
	}
	say("{\"event\":\"end\",\"time_ns\":%llu,\"rounds\":%llu}",
	    (unsigned long long)boottime_ns(),
	    (unsigned long long)(read_us / ((uint64_t)round_ms * 1000)));
	return 0;
}
