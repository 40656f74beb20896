// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-loader: the one program that knows libbpf. It loads and pins the handlers, and is gone:
 * what stays on the device stays small.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "probe.h"
#include "show.h"

static const char usage[] =
	"usage: lmk-loader probe\n"
	"       lmk-loader path [--root DIR]\n"
	"       lmk-loader load --object FILE [--assisted FILE] --policy FILE [--path PATH]\n"
	"                       [--pin-dir DIR] [--log FILE]\n"
	"       lmk-loader unload [--pin-dir DIR]\n"
	"       lmk-loader run OPERATION [--pid PID] [--start-ns NS] [--candidates] [--released]\n"
	"                              [--swap-total-kb N --swap-free-kb N]\n"
	"       lmk-loader events [--count N] [--timeout-ms N]\n"
	"       lmk-loader counters | drive\n"
	"       lmk-loader policy FILE | protect PID | lend TID\n";

struct arguments {
	struct load_options load;
	struct lmk_call call;
	long count;
	int timeout_ms;
	const char *operand;
};

enum option_code {
	OPT_OBJECT = 1,
	OPT_ASSISTED,
	OPT_PATH,
	OPT_ROOT,
	OPT_POLICY,
	OPT_PIN_DIR,
	OPT_LOG,
	OPT_PID,
	OPT_START,
	OPT_CANDIDATES,
	OPT_RELEASED,
	OPT_SWAP_TOTAL,
	OPT_SWAP_FREE,
	OPT_COUNT,
	OPT_TIMEOUT,
};

static const struct option options[] = {
	{"object", required_argument, NULL, OPT_OBJECT},
	{"assisted", required_argument, NULL, OPT_ASSISTED},
	{"path", required_argument, NULL, OPT_PATH},
	{"root", required_argument, NULL, OPT_ROOT},
	{"policy", required_argument, NULL, OPT_POLICY},
	{"pin-dir", required_argument, NULL, OPT_PIN_DIR},
	{"log", required_argument, NULL, OPT_LOG},
	{"pid", required_argument, NULL, OPT_PID},
	{"start-ns", required_argument, NULL, OPT_START},
	{"candidates", no_argument, NULL, OPT_CANDIDATES},
	{"released", no_argument, NULL, OPT_RELEASED},
	{"swap-total-kb", required_argument, NULL, OPT_SWAP_TOTAL},
	{"swap-free-kb", required_argument, NULL, OPT_SWAP_FREE},
	{"count", required_argument, NULL, OPT_COUNT},
	{"timeout-ms", required_argument, NULL, OPT_TIMEOUT},
	{NULL, 0, NULL, 0},
};

static int bad_usage(void)
{
	fputs(usage, stderr);
	return EXIT_USAGE;
}

static int parse(int count, char **words, struct arguments *to)
{
	int code;

	while ((code = getopt_long(count, words, "", options, NULL)) != -1) {
		switch (code) {
		case OPT_OBJECT:
			to->load.object = optarg;
			break;
		case OPT_ASSISTED:
			to->load.assisted = optarg;
			break;
		case OPT_PATH:
			to->load.path = optarg;
			break;
		case OPT_ROOT:
			lmk_probe_root(optarg);
			break;
		case OPT_POLICY:
			to->load.policy = optarg;
			break;
		case OPT_PIN_DIR:
			to->load.pin_dir = optarg;
			break;
		case OPT_LOG:
			to->load.log = optarg;
			break;
		case OPT_PID:
			to->call.pid = atoi(optarg);
			break;
		case OPT_START:
			to->call.start_ns = strtoull(optarg, NULL, 10);
			break;
		case OPT_CANDIDATES:
			to->call.with_candidates = 1;
			break;
		case OPT_RELEASED:
			to->call.released = 1;
			break;
		case OPT_SWAP_TOTAL:
			to->call.swap_total_kb = strtoull(optarg, NULL, 10);
			break;
		case OPT_SWAP_FREE:
			to->call.swap_free_kb = strtoull(optarg, NULL, 10);
			break;
		case OPT_COUNT:
			to->count = atol(optarg);
			break;
		case OPT_TIMEOUT:
			to->timeout_ms = atoi(optarg);
			break;
		default:
			return -1;
		}
	}
	if (optind < count)
		to->operand = words[optind++];
	return optind == count ? 0 : -1;
}

int main(int count, char **words)
{
	struct arguments given = {
		.load.pin_dir = LMK_PIN_DIR, .count = 0x7fffffff, .timeout_ms = 0};
	const char *command = count > 1 ? words[1] : "", *dir, *operand;

	if (count < 2 || parse(count - 1, words + 1, &given))
		return bad_usage();
	dir = given.load.pin_dir;
	operand = given.operand;
	if (!operand) {
		if (!strcmp(command, "probe"))
			return lmk_probe_main();
		if (!strcmp(command, "path"))
			return lmk_path_main();
		if (!strcmp(command, "load") && given.load.object && given.load.policy)
			return lmk_load(&given.load);
		if (!strcmp(command, "unload"))
			return lmk_unload(dir);
		if (!strcmp(command, "events"))
			return lmk_show_events(dir, given.count, given.timeout_ms);
		if (!strcmp(command, "drive"))
			return lmk_drive(dir);
		if (!strcmp(command, "counters"))
			return lmk_show_counters(dir);
		return bad_usage();
	}
	if (!strcmp(command, "run"))
		return lmk_show_run(dir, operand, &given.call);
	if (!strcmp(command, "policy"))
		return lmk_set_policy(dir, operand);
	if (!strcmp(command, "protect"))
		return lmk_set_protected(dir, atoi(operand));
	if (!strcmp(command, "lend"))
		return lmk_set_agent(dir, atoi(operand));
	return bad_usage();
}
