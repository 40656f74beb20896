// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench register: what ActivityManager tells lmkd, for a real lmkd that is measured. It kills
 * only processes that it was told of.
 *
 *     lmk-bench register --socket PATH
 *
 * On stdin: "prio PID UID OOM_SCORE_ADJ" and "remove PID". Event: "start".
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "host.h"
#include "identity.h"
#include "lines.h"
#include "lmkd_client.h"
#include "options.h"

#define LMK_PROCPRIO	  1
#define LMK_PROCREMOVE	  2
#define LMK_PROCPURGE	  3
#define LMK_PROC_TYPE_APP 0

static const char *path = "/dev/socket/lmkd";
static int64_t lease_s;
static int lmkd = -1;

static const struct bench_option table[] = {
	{"socket", NULL, &path, 0, 0, "lmkd's socket (/dev/socket/lmkd)"},
	{"lease-s", &lease_s, NULL, 0, 3600, "end when no byte came on stdin for that long"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

static void take_line(char *line)
{
	char *rest = NULL, *word = strtok_r(line, " ", &rest);
	int64_t pid, uid, adj;
	int error;

	if (parse_number(strtok_r(NULL, " ", &rest), 1, INT32_MAX, &pid)) {
		error = -EINVAL;
	} else if (!strcmp(word, "remove")) {
		int32_t words[] = {LMK_PROCREMOVE, (int32_t)pid};

		error = lmkd_send(lmkd, words, 2);
	} else if (!strcmp(word, "prio") &&
		   !parse_number(strtok_r(NULL, " ", &rest), 0, INT32_MAX, &uid) &&
		   !parse_number(strtok_r(NULL, " ", &rest), -1000, 1000, &adj)) {
		int32_t words[] = {LMK_PROCPRIO, (int32_t)pid, (int32_t)uid, (int32_t)adj,
				   LMK_PROC_TYPE_APP};

		error = lmkd_send(lmkd, words, 5);
	} else {
		error = -EINVAL;
	}
	/* That lmkd has ended is for who guards it to say. */
	if (error && error != -EPIPE && error != -ECONNRESET)
		say_error(error, "cannot tell lmkd: %s", word);
}

int run_register(int argc, char **argv)
{
	int32_t purge = LMK_PROCPURGE;
	int error;

	if (take_options(argc, argv, table) != argc)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)set_adj(-1000);
	lmkd = lmkd_connect(path);
	error = lmkd < 0 ? lmkd : 0;
	if (!error)
		error = lmkd_send(lmkd, &purge, 1);
	if (error) {
		say_error(error, "cannot reach lmkd at %s", path);
		return 1;
	}
	host_begin(lease_s, take_line);
	say("{\"event\":\"start\",\"time_ns\":%llu}", (unsigned long long)boottime_ns());
	while (host_lives(-1))
		;
	/* lmkd forgets what this connection told it. */
	close(lmkd);
	return 0;
}
