// SPDX-License-Identifier: Apache-2.0
/*
 * Processes in the states that a killer trips over. Each prints "ready PID ..." and then holds
 * still until it is killed, or until its stdin ends.
 *
 *   victims hold ADJ MB [IDLE]       MB of anon memory; IDLE: SCHED_IDLE, pinned to CPU 0
 *   victims grow ADJ MB MB_PER_S     grows to MB at that rate, then holds
 *   victims leaderless ADJ MB        the main thread has exited, another holds the memory
 *   victims shared ADJ MB UID        two processes, one address space; the second as UID
 *   victims spin CPUS                busy loops, for a victim that shall get no CPU
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	_exit(1);
}

static void set_adj(const char *adj)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, adj, strlen(adj)) < 0)
		die("oom_score_adj");
	close(fd);
}

/* Pages that do not compress well: zram must not swallow them whole. */
static void fill(char *memory, size_t bytes)
{
	static unsigned long long seed = 88172645463325252ULL;

	for (size_t i = 0; i + 8 <= bytes; i += 8) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		memcpy(memory + i, &seed, 8);
	}
}

static char *take(size_t bytes)
{
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	return memory;
}

static void ready(void)
{
	printf("ready %d\n", getpid());
	fflush(stdout);
}

static void wait_for_end(void)
{
	char byte;

	while (read(0, &byte, 1) > 0 || errno == EINTR)
		;
	_exit(0);
}

static void *hold_in_thread(void *memory)
{
	struct timespec soon = {.tv_nsec = 100000000};

	(void)memory;
	nanosleep(&soon, NULL); /* until the leader has gone */
	ready();
	wait_for_end();
	return NULL;
}

static void leaderless(size_t bytes)
{
	pthread_t thread;
	char *memory = take(bytes);

	fill(memory, bytes);
	if (pthread_create(&thread, NULL, hold_in_thread, memory))
		die("pthread_create");
	syscall(SYS_exit, 0); /* this thread alone */
}

static int second_process(void *uid)
{
	/* Its parent's death is nobody's signal here: only the killer may end it. */
	if (setresuid((uid_t)atoi(uid), (uid_t)atoi(uid), (uid_t)atoi(uid)))
		die("setresuid");
	for (;;)
		pause();
}

static void shared(size_t bytes, char *uid)
{
	static char stack[65536] __attribute__((aligned(16)));
	char *memory = take(bytes);
	int pid;

	fill(memory, bytes);
	pid = clone(second_process, stack + sizeof(stack), CLONE_VM | SIGCHLD, uid);
	if (pid < 0)
		die("clone");
	printf("ready %d %d\n", getpid(), pid);
	fflush(stdout);
	wait_for_end();
}

static void grow(size_t bytes, long mb_per_s)
{
	char *memory = take(bytes);
	const size_t step = 256 * 1024;
	struct timespec pause_for = {.tv_nsec = 1000000000L / (mb_per_s * 4)};

	ready();
	for (size_t done = 0; done + step <= bytes; done += step) {
		fill(memory + done, step);
		if (mb_per_s < 1000)
			nanosleep(&pause_for, NULL);
	}
	puts("grown");
	fflush(stdout);
	wait_for_end();
}

static void hold(size_t bytes, int idle)
{
	char *memory = take(bytes);
	struct sched_param parameters = {0};
	cpu_set_t first;

	fill(memory, bytes);
	if (idle) {
		CPU_ZERO(&first);
		CPU_SET(0, &first);
		if (sched_setaffinity(0, sizeof(first), &first) ||
		    sched_setscheduler(0, SCHED_IDLE, &parameters))
			die("sched_setscheduler");
	}
	ready();
	wait_for_end();
}

static void spin(int cpus)
{
	for (int i = 1; i < cpus; i++) {
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				;
		}
	}
	ready();
	for (;;)
		;
}

int main(int count, char **words)
{
	size_t bytes = count > 3 ? strtoul(words[3], NULL, 10) << 20 : 0;

	if (count >= 3 && !strcmp(words[1], "spin"))
		spin(atoi(words[2]));
	if (count < 4)
		return 2;
	set_adj(words[2]);
	if (!strcmp(words[1], "hold"))
		hold(bytes, count > 4);
	else if (!strcmp(words[1], "leaderless"))
		leaderless(bytes);
	else if (!strcmp(words[1], "shared") && count > 4)
		shared(bytes, words[4]);
	else if (!strcmp(words[1], "grow") && count > 4)
		grow(bytes, atol(words[4]));
	return 2;
}
