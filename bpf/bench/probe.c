// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench probe: how memory pressure feels to the app in front.
 *
 * A child at oom_score_adj 0 has a round of work due every --period-ms: it touches all of its
 * memory, and gets some that is new (drawing allocates, and it is allocation that has to wait
 * when memory is short). A round that does not end before the next is due misses its deadline;
 * rounds that became due meanwhile are not made up for.
 *
 * This process keeps the record, out of the reach of any killer: the child writes each round
 * to memory that both share, so that nothing it says can wait, and what it said outlives it.
 *
 * Events: "start", "rounds" {"rounds": [K, US, K, US, …]}: round K was due at
 * begin_ns + K * period_ns and ended US microseconds after that; "exit" when the child died;
 * "end".
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "host.h"
#include "identity.h"
#include "lines.h"
#include "memory.h"
#include "options.h"

#define SAY_TICK_MS 250
#define PAGE_KB	    4
#define RING	    8192 /* rounds: over a minute at 10 ms */
#define ROUNDS_LINE 50	 /* they fit into one line of lines.h */
/* What ActivityManager gives the thread that draws for the app in front. */
#define FRONT_NICE (-10)

struct round {
	uint64_t number;
	uint64_t latency_us;
};

static struct shared {
	_Atomic uint64_t count; /* rounds written */
	struct round rounds[RING];
} * shared;

static int64_t adj, uid = -1, size_kb = 16384, fresh_kb = 256, period_ms = 10, lease_s;
static const char *name = "com.example.probe";

static const struct bench_option table[] = {
	{"name", NULL, &name, 0, 0, "command line and comm to show"},
	{"adj", &adj, NULL, -1000, 1000, "oom_score_adj (0)"},
	{"uid", &uid, NULL, 0, INT32_MAX, "uid to run as (unchanged)"},
	{"size-kb", &size_kb, NULL, 4, 4194304, "memory to touch in each round (16384)"},
	{"fresh-kb", &fresh_kb, NULL, 0, 1048576, "memory to give back and get anew (256)"},
	{"period-ms", &period_ms, NULL, 1, 1000, "time from round to round (10)"},
	{"lease-s", &lease_s, NULL, 0, 3600, "end when no byte came on stdin for that long"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

static void work(volatile unsigned char *fresh)
{
	memory_touch(memory_kb());
	for (int64_t kb = 0; kb < fresh_kb; kb += PAGE_KB)
		fresh[kb * 1024] = 1;
	/* Cannot fail: the range is one that mmap gave. */
	if (fresh_kb)
		(void)madvise((void *)(uintptr_t)fresh, (size_t)fresh_kb * 1024, MADV_DONTNEED);
}

/* The child; never returns. */
static void run_rounds(uint64_t begin_ns, int go)
{
	uint64_t period_ns = (uint64_t)period_ms * 1000000, count = 0;
	void *fresh = NULL;
	char byte;

	if (fresh_kb)
		fresh = mmap(NULL, (size_t)fresh_kb * 1024, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fresh == MAP_FAILED || memory_grow((uint64_t)size_kb))
		_exit(3);
	work(fresh);
	/* The parent says that it watches. */
	if (read(go, &byte, 1) != 1)
		_exit(0);
	for (uint64_t number = (boottime_ns() - begin_ns) / period_ns + 1;; number++) {
		uint64_t due_ns = begin_ns + number * period_ns, now_ns;
		struct timespec due = {.tv_sec = (time_t)(due_ns / 1000000000u),
				       .tv_nsec = (long)(due_ns % 1000000000u)};
		struct round *slot = &shared->rounds[count % RING];

		while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &due, NULL) == EINTR)
			;
		work(fresh);
		now_ns = boottime_ns();
		slot->number = number;
		slot->latency_us = now_ns > due_ns ? (now_ns - due_ns) / 1000 : 0;
		atomic_store_explicit(&shared->count, ++count, memory_order_release);
		if (now_ns > due_ns + period_ns)
			number = (now_ns - begin_ns) / period_ns;
	}
}

static void say_rounds(void)
{
	static uint64_t said;
	uint64_t count = atomic_load_explicit(&shared->count, memory_order_acquire);

	/* The reader would have to sleep for a minute. */
	if (count - said > RING)
		said = count - RING;
	while (said < count) {
		char text[ROUNDS_LINE * 18 + 1];
		size_t used = 0;

		for (int i = 0; i < ROUNDS_LINE && said < count; i++, said++) {
			const struct round *round = &shared->rounds[said % RING];

			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%llu,%llu",
						 used ? "," : "", (unsigned long long)round->number,
						 (unsigned long long)round->latency_us);
		}
		say("{\"event\":\"rounds\",\"rounds\":[%s]}", text);
	}
}

static int become_child(int argc, char **argv, int go, uint64_t begin_ns)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	set_name(argc, argv, name);
	/* Not inherited: mlockall(). The record's realtime class is reset on fork. */
	if (setpriority(PRIO_PROCESS, 0, FRONT_NICE) && errno != EACCES && errno != EPERM)
		return -errno;
	if (set_adj((int)adj) || (uid >= 0 && set_uid((uid_t)uid)))
		return -errno;
	/* A change of credentials clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	memory_set_compressible(HALF_COMPRESSIBLE_PCT);
	run_rounds(begin_ns, go);
	return 0;
}

/* Until the child or the host has gone; says how the child ended. */
static void keep_record(pid_t child, int pidfd)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	siginfo_t info = {0};
	int quitting = 0;

	host_begin(lease_s, NULL);
	while (!quitting && !poll(&end, 1, 0)) {
		quitting = !host_lives(SAY_TICK_MS);
		say_rounds();
	}
	if (quitting)
		kill(child, SIGKILL);
	(void)waitid(P_PID, (id_t)child, &info, WEXITED);
	say_rounds();
	say("{\"event\":\"exit\",\"time_ns\":%llu,\"pid\":%d,\"signal\":%d,\"code\":%d,"
	    "\"asked\":%s}",
	    (unsigned long long)boottime_ns(), (int)child,
	    info.si_code == CLD_EXITED ? 0 : info.si_status,
	    info.si_code == CLD_EXITED ? info.si_status : 0, quitting ? "true" : "false");
}

int run_probe(int argc, char **argv)
{
	struct sched_param priority = {.sched_priority = 1};
	uint64_t begin_ns, ticks = 0;
	int go[2], pidfd, error;
	pid_t child;

	error = take_options(argc, argv, table);
	if (error != argc)
		return 2;
	if (!name_is_valid(name)) {
		say_error(0, "bad value for name");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	/* As lmk-population: the record must be right while the device starves. */
	(void)set_adj(-1000);
	(void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (shared == MAP_FAILED || pipe2(go, O_CLOEXEC)) {
		say_error(-errno, "cannot make the record");
		return 1;
	}
	(void)mlockall(MCL_CURRENT | MCL_FUTURE);
	begin_ns = boottime_ns();
	child = fork();
	if (child < 0) {
		say_error(-errno, "cannot fork");
		return 1;
	}
	if (child == 0) {
		close(go[1]);
		error = become_child(argc, argv, go[0], begin_ns);
		_exit(error ? 3 : 0);
	}
	close(go[0]);
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	if (pidfd < 0 || start_ticks(child, &ticks)) {
		say_error(-errno, "cannot watch the child");
		kill(child, SIGKILL);
		return 1;
	}
	say("{\"event\":\"start\",\"time_ns\":%llu,\"begin_ns\":%llu,\"period_ns\":%llu,\"pid\":%d,"
	    "\"start_ticks\":%llu}",
	    (unsigned long long)boottime_ns(), (unsigned long long)begin_ns,
	    (unsigned long long)period_ms * 1000000, (int)child, (unsigned long long)ticks);
	if (write(go[1], "", 1) != 1)
		say_error(-errno, "cannot start the rounds");
	keep_record(child, pidfd);
	say("{\"event\":\"end\",\"time_ns\":%llu}", (unsigned long long)boottime_ns());
	return 0;
}
