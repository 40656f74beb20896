// SPDX-License-Identifier: Apache-2.0
/*
 * Processes in the states that a killer trips over. Each says "ready PID" and then holds still
 * until it is killed; after five minutes it goes by itself, so that no test leaves one behind.
 *
 *   victims hold UID ADJ MB         MB of anon memory
 *   victims stuck UID ADJ MB        cannot die: waits for a lock, uninterruptible, until its
 *                                   helper ("second") is killed
 *   victims grow UID ADJ MB RATE    grows to MB at RATE MB a second, says "grown", then holds
 *   victims leaderless UID ADJ MB   the main thread has exited, another holds the memory
 *   victims leaving UID ADJ MB      leaderless, but the main thread exits only at SIGUSR1 ("left")
 *   victims shared UID ADJ MB UID2  two processes, one address space; the second as UID2
 *   victims zombie UID ADJ MB       the process that says ready has a dead, unreaped child
 *   victims namespace UID ADJ MB    init of a PID namespace
 *   victims busy UID ADJ MB         busy loop anywhere
 *   victims exits UID ADJ MB [KILLS]
 *                                   processes exit on one CPU and preempt each other while they do,
 *                                   all by a SIGKILL of their own ("killed"), until those who
 *                                   come first have been KILLS
 *   victims connect UID ADJ MB NAME HEX
 *                                   connects to an abstract socket, sends HEX, says how many bytes
 *                                   it "heard" until it was hung up on
 *   victims squat UID ADJ MB NAME HEX
 *                                   takes that name as soon as it is free, answers HEX to all
 *   victims kills UID ADJ MB FIFO   sends SIGKILL to each pid that comes through FIFO, and says so
 *   victims race PINS THREADS       runs the SYSCALL program pinned there on THREADS at once, once
 *   victims policies PINS A B TIMES HOW
 *                                   puts the raw policies A and B in force by turns, while another
 *                                   thread decides; says how many decisions were of A, of B, of
 *                                   neither; HOW: `swap`, or `in-place`, as one must not
 *   victims ask PIN OP PID TOKEN KILL_ID KILL_RESULT
 *                                   runs lmk_call; says result, outcome, victim, token, kill id
 *   victims trap PIN OP PID         runs lmk_trap of traps.bpf.c; says result, outcome, victim
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "victims.h"

#define LIFE_S 300

static void set_adj(const char *adj)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, adj, strlen(adj)) < 0)
		die("oom_score_adj");
	close(fd);
}

static void become(const char *uid)
{
	uid_t wanted = (uid_t)atoi(uid);

	if (setresuid(wanted, wanted, wanted))
		die("setresuid");
}

/* Pages that do not compress well: zram must not swallow them whole. */
static void fill(char *memory, size_t bytes)
{
	static uint64_t seed = 88172645463325252ULL;

	for (size_t i = 0; i + sizeof(seed) <= bytes; i += sizeof(seed)) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(memory + i, &seed, sizeof(seed));
	}
}

static char *take(size_t bytes)
{
	char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static void hold_still(void)
{
	for (;;)
		pause();
}

static const char *when_alone = "ready";

static void *hold_in_thread(void *nothing)
{
	char path[64], line[256];
	FILE *file;

	(void)nothing;
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", getpid());
	/* Until the leader has gone: "PID (comm) Z". */
	do {
		file = fopen(path, "re");
		if (!file || !fgets(line, sizeof(line), file))
			line[0] = '\0';
		if (file)
			fclose(file);
	} while (!strstr(line, ") Z"));
	say(when_alone, getpid());
	hold_still();
	return NULL;
}

static void leaderless(bool at_signal)
{
	sigset_t usr1;
	pthread_t thread;
	int signal;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	if (at_signal) {
		when_alone = "left";
		sigprocmask(SIG_BLOCK, &usr1, NULL);
	}
	if (pthread_create(&thread, NULL, hold_in_thread, NULL))
		die("pthread_create");
	if (at_signal) {
		say("ready", getpid());
		sigwait(&usr1, &signal);
	}
	syscall(SYS_exit, 0); /* this thread alone */
}

static int second_process(void *uid)
{
	become(uid);
	hold_still();
	return 0;
}

static void shared(char *second_uid)
{
	static char stack[65536] __attribute__((aligned(16)));
	int pid = clone(second_process, stack + sizeof(stack), CLONE_VM | SIGCHLD, second_uid);

	if (pid < 0)
		die("clone");
	say("second", pid);
}

static void zombie(void)
{
	siginfo_t info;
	int pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid)
		_exit(0);
	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT))
		die("waitid");
	say("zombie", pid);
}

static void new_namespace(void)
{
	int pid;

	if (unshare(CLONE_NEWPID))
		die("unshare");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid) {
		say("init", pid);
		_exit(0);
	}
	alarm(LIFE_S);
}

/*
 * Writes to `end` from memory whose pages never come: holds the pipe's mutex for good, so
 * that whoever else writes there waits in TASK_UNINTERRUPTIBLE.
 */
static void hold_pipe(int end)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register area = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fault = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *memory = take(4096);

	area.range.start = (uintptr_t)memory;
	area.range.len = 4096;
	if (fault < 0 || ioctl(fault, UFFDIO_API, &api) || ioctl(fault, UFFDIO_REGISTER, &area))
		die("userfaultfd");
	if (write(end, memory, 4096) < 0)
		die("write");
	_exit(0);
}

static bool sleeps_in_fault(int pid)
{
	char path[64], line[256] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	file = fopen(path, "re");
	if (!file)
		die(path);
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	return atol(line) == SYS_write && line[0] >= '0' && line[0] <= '9';
}

/* Returns the end of a pipe that nobody can write to. */
static int stuck(void)
{
	int ends[2], pid;

	if (pipe(ends))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		set_adj("-1000");
		alarm(LIFE_S);
		hold_pipe(ends[1]);
	}
	while (!sleeps_in_fault(pid))
		usleep(1000);
	say("second", pid);
	return ends[1];
}

static void grow(char *memory, size_t bytes, long mb_per_s)
{
	const size_t step = 256 * 1024;
	struct timespec pause_for = {.tv_nsec = 1000000000L / (mb_per_s * 4)};

	for (size_t done = 0; done + step <= bytes; done += step) {
		fill(memory + done, step);
		nanosleep(&pause_for, NULL);
	}
	say("grown", getpid());
}

/* A child that ends at once: by itself, or by a SIGKILL of its own, which is said. */
static void fork_and_end(bool killed)
{
	int pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid && killed)
		raise(SIGKILL);
	if (!pid)
		_exit(0);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (killed)
		say("killed", pid);
}

/*
 * One that never pauses, and one that comes before it and wakes at ever other moments. Where
 * `kills` says how many of that one's children are to, all kill themselves.
 */
static void exits(int kills)
{
	struct sched_param first = {.sched_priority = 1};
	struct timespec pause_for = {0};
	cpu_set_t one;
	int pid;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die("sched_setaffinity");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			fork_and_end(kills);
	}
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		die("sched_setscheduler");
	say("ready", getpid());
	for (int i = 0; !kills || i < kills; i++) {
		pause_for.tv_nsec = (pause_for.tv_nsec + 37 * 1009) % 1000000;
		nanosleep(&pause_for, NULL);
		fork_and_end(kills);
	}
	say("done", getpid());
	_exit(0);
}

static void kills(const char *fifo)
{
	char line[32];
	FILE *file;

	say("ready", getpid());
	for (;;) {
		file = fopen(fifo, "re");
		while (file && fgets(line, sizeof(line), file)) {
			if (kill(atoi(line), SIGKILL))
				die("kill");
			say("killed", atoi(line));
		}
		if (file)
			fclose(file);
	}
}

void die(const char *what)
{
	perror(what);
	_exit(1);
}

void say(const char *what, int pid)
{
	printf("%s %d\n", what, pid);
	fflush(stdout);
}

int main(int count, char **words)
{
	const char *mode = count > 1 ? words[1] : "";
	size_t bytes;
	char *memory;
	int end = -1;

	if (!strcmp(mode, "ask") && count == 8)
		return ask(words + 3);
	if (!strcmp(mode, "race") && count == 4 && atoi(words[3]) <= 64)
		return race(words[2], atoi(words[3]));
	if (!strcmp(mode, "policies") && count == 7 && atoi(words[5]) > 0)
		return policies(words + 2);
	if (!strcmp(mode, "trap") && count == 5)
		return trap(words[2], words[3], words[4]);
	if (count < 5)
		return 2;
	alarm(LIFE_S);
	bytes = strtoul(words[4], NULL, 10) << 20;
	set_adj(words[3]);
	if (!strcmp(mode, "namespace"))
		new_namespace();
	memory = take(bytes ? bytes : 4096);
	if (strcmp(mode, "grow"))
		fill(memory, bytes);
	if (!strcmp(mode, "shared") && count > 5) {
		shared(words[5]); /* before it loses the right to become another */
	} else if (!strcmp(mode, "zombie")) {
		become(words[2]);
		zombie();
	}
	if (!strcmp(mode, "stuck"))
		end = stuck();
	if (!strcmp(mode, "exits"))
		exits(count > 5 ? atoi(words[5]) : 0); /* before it loses the right to come first */
	become(words[2]);
	if (!strcmp(mode, "connect") && count > 6)
		connect_to(words[5], words[6]);
	if (!strcmp(mode, "squat") && count > 6)
		squat(words[5], words[6]);
	if (!strcmp(mode, "kills") && count > 5)
		kills(words[5]);
	if (!strcmp(mode, "leaderless"))
		leaderless(false);
	if (!strcmp(mode, "leaving"))
		leaderless(true);
	if (!strcmp(mode, "grow") && count > 5)
		grow(memory, bytes, atol(words[5]));
	say("ready", getpid());
	if (end >= 0 && write(end, "", 1) < 0)
		die("write");
	while (!strcmp(mode, "busy"))
		;
	hold_still();
}
