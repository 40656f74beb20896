// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench adjust: ActivityManager at its busiest, over lmkd's socket: it registers many
 * processes, one by one and three in a packet, and then changes the oom_score_adj of one after the
 * other, at a rate, for a while. After each, the last of a connection's packets being a question
 * whose answer says that all before it were carried out, every process is looked at.
 *
 *     lmk-bench adjust --socket PATH --processes 1000 --rate 10000 --seconds 60
 *
 * Events: "start" {"processes"}; "registered" {"per_packet", "ns", "wrong"} twice;
 * "changed" {"count", "ns", "send_ns", "wrong"}: `ns` until the answer came, `send_ns` until the
 * last was sent; `wrong`: processes whose oom_score_adj is not what they were told last; "end".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "host.h"
#include "identity.h"
#include "lines.h"
#include "lmkd_client.h"
#include "options.h"

#define LMK_PROCPRIO   1
#define LMK_GETKILLCNT 4
#define LMK_PROCS_PRIO 11
#define PER_PACKET     3
#define PROCESSES_MAX  4000
#define TICK_NS	       1000000u /* changes are sent in bursts, one each millisecond */
#define NS_PER_S       1000000000u

static const char *path = "/dev/socket/lmkd";
static int64_t lease_s, processes = 1000, rate = 10000, seconds = 60;
static int lmkd = -1;
static struct {
	pid_t pid;
	int adj; /* told last */
} told[PROCESSES_MAX];

static const struct bench_option table[] = {
	{"socket", NULL, &path, 0, 0, "lmkd's socket (/dev/socket/lmkd)"},
	{"processes", &processes, NULL, 1, PROCESSES_MAX, "how many (1000)"},
	{"rate", &rate, NULL, 1, 1000000, "changes in a second (10000)"},
	{"seconds", &seconds, NULL, 1, 3600, "for so long (60)"},
	{"lease-s", &lease_s, NULL, 0, 3600, "end when no byte came on stdin for that long"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

/* How many were killed: it is answered when all before it were carried out. */
static int wait_for_all(void)
{
	const int32_t question[] = {LMK_GETKILLCNT, 1001, 0};
	uint32_t answer[2];
	int error = lmkd_send(lmkd, question, 3);

	if (error)
		return error;
	do {
		ssize_t got = recv(lmkd, answer, sizeof(answer), 0);

		if (got <= 0)
			return got ? -errno : -EPIPE;
	} while (ntohl(answer[0]) != LMK_GETKILLCNT);
	return 0;
}

/* One more of `per_packet` processes from `first` on; they take `adj`. */
static int tell_some(int first, int per_packet, int adj)
{
	int32_t words[1 + 4 * PER_PACKET];
	size_t count = 0;

	words[count++] = per_packet == 1 ? LMK_PROCPRIO : LMK_PROCS_PRIO;
	for (int i = first; i < first + per_packet && i < processes; i++) {
		told[i].adj = adj;
		words[count++] = told[i].pid;
		words[count++] = 10000 + i;
		words[count++] = adj;
		words[count++] = 0; /* an app */
	}
	return lmkd_send(lmkd, words, count);
}

static int count_wrong(void)
{
	int wrong = 0;

	for (int i = 0; i < processes; i++) {
		char name[40], text[16] = "";
		FILE *file;

		snprintf(name, sizeof(name), "/proc/%d/oom_score_adj", told[i].pid);
		file = fopen(name, "re");
		if (!file || !fgets(text, sizeof(text), file) || atoi(text) != told[i].adj)
			wrong++;
		if (file)
			fclose(file);
	}
	return wrong;
}

static int register_all(int per_packet, int adj)
{
	uint64_t begin_ns = boottime_ns(), end_ns;
	int error = 0;

	for (int i = 0; i < processes && !error; i += per_packet)
		error = tell_some(i, per_packet, adj);
	if (!error)
		error = wait_for_all();
	end_ns = boottime_ns();
	if (!error)
		say("{\"event\":\"registered\",\"per_packet\":%d,\"ns\":%llu,\"wrong\":%d}",
		    per_packet, (unsigned long long)(end_ns - begin_ns), count_wrong());
	return error;
}

static void sleep_until(uint64_t due_ns)
{
	struct timespec until = {(time_t)(due_ns / NS_PER_S), (long)(due_ns % NS_PER_S)};

	while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static int change_for_a_while(void)
{
	uint64_t begin_ns = boottime_ns(), send_ns, now_ns = begin_ns, sent = 0;
	uint64_t wanted = (uint64_t)(rate * seconds);
	int error = 0;

	while (sent < wanted && !error) {
		uint64_t due = (now_ns - begin_ns) * (uint64_t)rate / NS_PER_S + 1;

		for (; sent < due && sent < wanted && !error; sent++)
			error = tell_some((int)(sent % (uint64_t)processes), 1,
					  (int)(sent / (uint64_t)processes % 1001));
		sleep_until(now_ns + TICK_NS);
		now_ns = boottime_ns();
		if (!host_lives(0))
			return -EPIPE;
	}
	send_ns = boottime_ns() - begin_ns;
	if (!error)
		error = wait_for_all();
	if (!error)
		say("{\"event\":\"changed\",\"count\":%llu,\"ns\":%llu,\"send_ns\":%llu,"
		    "\"wrong\":%d}",
		    (unsigned long long)sent, (unsigned long long)(boottime_ns() - begin_ns),
		    (unsigned long long)send_ns, count_wrong());
	return error;
}

/* Children that wait for the end of this process. */
static int start_all(void)
{
	for (int i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (!pid) {
			if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() == 1)
				_exit(1);
			for (;;)
				pause();
		}
		told[i].pid = pid;
	}
	return 0;
}

int run_adjust(int argc, char **argv)
{
	int error;

	if (take_options(argc, argv, table) != argc)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)set_adj(-1000);
	error = start_all();
	if (error) {
		say_error(error, "cannot start %d processes", (int)processes);
		return 1;
	}
	lmkd = lmkd_connect(path);
	if (lmkd < 0) {
		say_error(lmkd, "cannot reach lmkd at %s", path);
		return 1;
	}
	host_begin(lease_s, NULL);
	say("{\"event\":\"start\",\"processes\":%d}", (int)processes);
	error = register_all(1, 900);
	if (!error)
		error = register_all(PER_PACKET, 901);
	if (!error)
		error = change_for_a_while();
	if (error) {
		say_error(error, "lmkd at %s", path);
		return 1;
	}
	say("{\"event\":\"end\"}");
	return 0;
}
