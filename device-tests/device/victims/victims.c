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
#include <linux/bpf.h>
#include <linux/types.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "assist/assist.h"
#include "assist/put_policy.h"
#include "lmk/abi.h"

#define LIFE_S 300

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

static void say(const char *what, int pid)
{
	printf("%s %d\n", what, pid);
	fflush(stdout);
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

static int open_pin(const char *pin)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.pathname = (uintptr_t)pin;
	fd = (int)syscall(SYS_bpf, BPF_OBJ_GET, &attr, sizeof(attr));
	if (fd < 0)
		die(pin);
	return fd;
}

static void run_program(int program, struct lmk_call *call)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (__u32)program;
	attr.test.ctx_in = (uintptr_t)call;
	attr.test.ctx_size_in = sizeof(*call);
	if (syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)))
		die("BPF_PROG_TEST_RUN");
}

static struct {
	struct assist assist;
	pthread_barrier_t start;
	__u32 outcomes[LMK_OUT_MAX];
} contest;

static void *contestant(void *nothing)
{
	struct assist assist = contest.assist;
	struct lmk_call call = {0};

	(void)nothing;
	pthread_barrier_wait(&contest.start);
	if (assist_run(&assist, &call))
		die("BPF_PROG_TEST_RUN");
	__sync_fetch_and_add(&contest.outcomes[call.outcome], 1);
	return NULL;
}

static int race(const char *pins, int threads)
{
	char call[256], walk[256];
	pthread_t ids[64];

	snprintf(call, sizeof(call), "%s/programs/lmk_call", pins);
	snprintf(walk, sizeof(walk), "%s/links/lmk_walk", pins);
	contest.assist = (struct assist){.call = open_pin(call), .walk = -1, .iter = -1};
	if (!access(walk, F_OK))
		contest.assist.walk = open_pin(walk);
	assist_open_psi(&contest.assist);
	pthread_barrier_init(&contest.start, NULL, (unsigned int)threads);
	for (int i = 0; i < threads; i++)
		pthread_create(&ids[i], NULL, contestant, NULL);
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	for (int i = 0; i < LMK_OUT_MAX; i++)
		printf("%u ", contest.outcomes[i]);
	puts("");
	return 0;
}

static struct {
	struct assist assist;
	struct lmk_policy policy[2];
	int map;
	volatile bool over;
	volatile unsigned int of[2], of_neither;
} turns;

static void open_handlers(const char *pins)
{
	char call[256], walk[256], map[256];

	snprintf(call, sizeof(call), "%s/programs/lmk_call", pins);
	snprintf(walk, sizeof(walk), "%s/links/lmk_walk", pins);
	snprintf(map, sizeof(map), "%s/maps/policy", pins);
	turns.assist = (struct assist){.call = open_pin(call), .walk = -1, .iter = -1};
	if (!access(walk, F_OK))
		turns.assist.walk = open_pin(walk);
	assist_open_psi(&turns.assist);
	turns.map = open_pin(map);
}

static void read_policy(const char *path, struct lmk_policy *policy)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, policy, sizeof(*policy)) != sizeof(*policy))
		die(path);
	close(fd);
}

/*
 * Everything in the answer that comes from the policy alone, from its first steps to its last.
 * There is no reason while stall is not known.
 */
static bool is_of(const struct lmk_call *call, const struct lmk_policy *policy)
{
	const struct lmk_verdict *verdict = &call->verdict;

	return verdict->some_limit_us == policy->stall_psi_partial_stall_ms * 1000ULL &&
	       verdict->full_limit_us == policy->stall_psi_complete_stall_ms * 1000ULL &&
	       verdict->reclaim_limit_us == policy->reclaim_direct_reclaim_threshold_ms * 1000ULL &&
	       verdict->filecache_limit_kb == policy->thrashing_filecache_min_kb &&
	       verdict->swap_util_limit_pct == policy->swap_swap_util_max_pct &&
	       (!verdict->reason || verdict->floor == policy->stall_partial_stall_min_score) &&
	       (call->budget_left < 0) == !policy->kills_max_per_minute;
}

static void *decide_by_turns(void *nothing)
{
	(void)nothing;
	while (!turns.over) {
		struct lmk_call call = {0};

		if (assist_run(&turns.assist, &call))
			die("BPF_PROG_TEST_RUN");
		if (call.outcome == LMK_OUT_CLAIMED)
			continue;
		if (is_of(&call, &turns.policy[0]))
			turns.of[0]++;
		else if (is_of(&call, &turns.policy[1]))
			turns.of[1]++;
		else
			turns.of_neither++;
	}
	return NULL;
}

/* What is in force is overwritten: the same bytes, but for those that are to change. */
static int put_in_place(const struct lmk_policy *policy)
{
	union bpf_attr attr;

	for (__u32 slot = 0; slot < LMK_POLICY_SLOTS; slot++) {
		memset(&attr, 0, sizeof(attr));
		attr.map_fd = (__u32)turns.map;
		attr.key = (uintptr_t)&slot;
		attr.value = (uintptr_t)policy;
		if (syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attr, sizeof(attr)))
			return -errno;
	}
	return 0;
}

static int policies(char **words)
{
	bool in_place = !strcmp(words[4], "in-place");
	int times = atoi(words[3]);
	pthread_t decider;
	int error;

	open_handlers(words[0]);
	read_policy(words[1], &turns.policy[0]);
	read_policy(words[2], &turns.policy[1]);
	/* One mixture is enough where one is looked for. */
	for (int i = 0; i < times && !(in_place && turns.of_neither); i++) {
		const struct lmk_policy *policy = &turns.policy[i & 1];

		error = in_place ? put_in_place(policy)
				 : put_policy(turns.assist.call, turns.map, policy);
		if (error) {
			errno = -error;
			die("policy");
		}
		/* From the first on: what was in force before is neither. */
		if (!i && pthread_create(&decider, NULL, decide_by_turns, NULL))
			die("pthread_create");
	}
	turns.over = true;
	pthread_join(decider, NULL);
	printf("%u %u %u\n", turns.of[0], turns.of[1], turns.of_neither);
	return 0;
}

static int trap(const char *pin, const char *op, const char *pid)
{
	struct lmk_call call = {.op = (__u32)atoi(op), .pid = atoi(pid)};

	run_program(open_pin(pin), &call);
	printf("%d %u %d\n", call.result, call.outcome, call.victim_pid);
	return 0;
}

/* One step of the assisted path's conversation, and nothing that it asks for. */
static int ask(char **words)
{
	/* Some kernels do not let BPF see the stall: it is told, that there is none. */
	struct lmk_call call = {.op = (__u32)atoi(words[0]), .tells_psi = 1};

	call.pid = atoi(words[1]);
	call.token = strtoull(words[2], NULL, 10);
	call.kill_id = strtoull(words[3], NULL, 10);
	call.kill_result = atoi(words[4]);
	run_program(open_pin(words[-1]), &call);
	printf("%d %u %d %llu %llu\n", call.result, call.outcome, call.victim_pid, call.token,
	       call.kill_id);
	return 0;
}

static socklen_t abstract(const char *name, struct sockaddr_un *address)
{
	size_t length = strlen(name);

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (length >= sizeof(address->sun_path))
		die(name);
	memcpy(address->sun_path + 1, name, length);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

static void send_hex(int fd, const char *hex)
{
	for (; hex[0] && hex[1]; hex += 2) {
		char digits[] = {hex[0], hex[1], 0};
		char byte = (char)strtoul(digits, NULL, 16);

		if (send(fd, &byte, 1, MSG_NOSIGNAL) < 0)
			return; /* hung up on already */
	}
}

static void connect_to(const char *name, const char *hex)
{
	struct sockaddr_un address;
	socklen_t length = abstract(name, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), heard = 0;
	char bytes[4096];
	ssize_t got;

	if (fd < 0 || connect(fd, (struct sockaddr *)&address, length))
		die(name);
	send_hex(fd, hex);
	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		heard += (int)got;
	say("heard", heard);
}

static void squat(const char *name, const char *hex)
{
	struct sockaddr_un address;
	socklen_t length = abstract(name, &address);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char bytes[4096];

	while (listener >= 0 && bind(listener, (struct sockaddr *)&address, length)) {
		if (errno != EADDRINUSE)
			die(name);
		usleep(1000);
	}
	if (listen(listener, 8))
		die(name);
	say("ready", getpid());
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd >= 0 && recv(fd, bytes, sizeof(bytes), 0) > 0)
			send_hex(fd, hex);
	}
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
