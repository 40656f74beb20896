// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-population: processes that look like a phone's apps, and the record of how each died.
 *
 * Reads a table (a file given as argument, else stdin up to a line "go"), one row a line:
 *
 *     NAME UID OOM_SCORE_ADJ SIZE_KB COUNT COMPRESSIBLE_PCT TOUCH_MS
 *
 * COUNT > 1 makes NAME1, NAME2, … with uids UID, UID + 1, …. Then, on stdin:
 *
 *     grow NAME MB MB_PER_S     grow by that much (rate 0: as fast as it goes)
 *     shrink NAME               back to its size in the table
 *     refill                    start again what has died
 *     list                      one "process" line each
 *     quit                      end all, wait for them, exit (end of input means the same)
 *     (empty line)              the host lives: see --lease-s
 *
 * Answers are JSON lines. The "exit" lines are the device's own record of deaths: each child
 * is watched by its pidfd in one epoll set, whose ready list keeps the order in which they
 * died (waitpid(-1) would give the order in which they were born).
 *
 * This process has oom_score_adj -1000 where it may (root): neither the kernel's OOM killer
 * nor lmk takes it, so the record survives. Its children die with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app.h"
#include "lines.h"

#define PROCESSES_MAX	 512
#define FILES_EACH	 2
#define FILES_OWN	 32
#define PARENT_ADJ	 (-1000)
#define QUIT_PATIENCE_NS 5000000000u
#define TICK_MS		 200

enum process_state { DEAD, STARTING, ALIVE };

struct process {
	struct app app;
	enum process_state state;
	pid_t pid;
	int pidfd;
	int socket;
	uint64_t ticks; /* start time, with the pid its identity */
	uint64_t kb;
};

static struct process processes[PROCESSES_MAX];
static size_t count;
static size_t next_start; /* processes before this were started in this filling */
static int filling, reading_table, quitting;
static uint64_t quit_ns, heard_ns;
static int64_t lease_s;
static int epoll = -1;
static int own_argc;
static char **own_argv;

static void say_process(const char *event, uint64_t time_ns, const struct process *process,
			const char *more)
{
	say("{\"event\":\"%s\",\"time_ns\":%llu,\"name\":\"%s\",\"pid\":%d,\"start_ticks\":%llu,"
	    "\"uid\":%u,\"adj\":%d,\"kb\":%llu%s}",
	    event, (unsigned long long)time_ns, process->app.name, (int)process->pid,
	    (unsigned long long)process->ticks, process->app.uid, process->app.adj,
	    (unsigned long long)process->kb, more);
}

static int watch(int fd, size_t index, unsigned int is_pidfd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = index * 2 + is_pidfd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* 0, -ESRCH for one that is dead, or -errno. One that is just dying says so by its pidfd. */
static int order(struct process *process, uint64_t to_kb, uint64_t rate_kb_per_s)
{
	struct app_order text = {.to_kb = to_kb, .rate_kb_per_s = rate_kb_per_s};

	if (process->state == DEAD)
		return -ESRCH;
	if (send(process->socket, &text, sizeof(text), MSG_NOSIGNAL) != sizeof(text))
		return errno == EPIPE || errno == ECONNRESET ? 0 : -errno;
	return 0;
}

static int start(size_t index)
{
	struct process *process = &processes[index];
	int sockets[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets))
		return -errno;
	process->pid = fork();
	if (process->pid < 0) {
		error = -errno;
		goto out_sockets;
	}
	if (process->pid == 0)
		run_app(&process->app, sockets[1], own_argc, own_argv);
	close(sockets[1]);
	process->socket = sockets[0];
	process->kb = 0;
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	error = process->pidfd < 0 ? -errno : start_ticks(process->pid, &process->ticks);
	if (!error)
		error = watch(process->pidfd, index, 1);
	if (!error)
		error = watch(process->socket, index, 0);
	if (error)
		goto out_child;
	process->state = STARTING;
	say_process("start", boottime_ns(), process, "");
	return order(process, process->app.size_kb, 0);

out_child:
	kill(process->pid, SIGKILL);
	(void)waitpid(process->pid, NULL, 0);
	if (process->pidfd >= 0)
		close(process->pidfd);
	close(sockets[0]);
	return error;
out_sockets:
	close(sockets[0]);
	close(sockets[1]);
	return error;
}

/* One after the other: a phone's apps are not all started at once either. */
static void start_next(void)
{
	size_t alive = 0;

	while (filling && !quitting && next_start < count) {
		size_t index = next_start++;
		int error;

		if (processes[index].state != DEAD)
			continue;
		error = start(index);
		if (!error)
			return;
		say_error(error, "cannot start %s", processes[index].app.name);
	}
	if (!filling)
		return;
	filling = 0;
	for (size_t i = 0; i < count; i++)
		alive += processes[i].state == ALIVE;
	say("{\"event\":\"ready\",\"time_ns\":%llu,\"alive\":%zu,\"dead\":%zu}",
	    (unsigned long long)boottime_ns(), alive, count - alive);
}

static void fill(void)
{
	filling = 1;
	next_start = 0;
	start_next();
}

static void hear(struct process *process)
{
	struct app_answer text;
	int was_starting = process->state == STARTING;

	/* The end of a process comes by its pidfd; here it is only no answer. */
	if (recv(process->socket, &text, sizeof(text), MSG_DONTWAIT) != sizeof(text)) {
		(void)epoll_ctl(epoll, EPOLL_CTL_DEL, process->socket, NULL);
		return;
	}
	process->kb = text.kb;
	if (text.state == APP_FAILED) {
		say_error(text.error, "%s (oom_score_adj %d, uid %u) failed at %llu KiB",
			  process->app.name, process->app.adj, process->app.uid,
			  (unsigned long long)text.kb);
	} else if (text.state == APP_DONE && was_starting) {
		process->state = ALIVE;
		start_next();
	} else if (!was_starting) {
		say_process(text.state == APP_DONE ? "sized" : "growing", boottime_ns(), process,
			    "");
	}
}

static void bury(struct process *process, uint64_t time_ns)
{
	int was_starting = process->state == STARTING;
	siginfo_t info = {0};
	char more[96];

	if (waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED) || !info.si_pid)
		return;
	close(process->pidfd);
	close(process->socket);
	process->state = DEAD;
	snprintf(more, sizeof(more), ",\"signal\":%d,\"code\":%d,\"quitting\":%s",
		 info.si_code == CLD_EXITED ? 0 : info.si_status,
		 info.si_code == CLD_EXITED ? info.si_status : 0, quitting ? "true" : "false");
	say_process("exit", time_ns, process, more);
	if (was_starting)
		start_next();
}

static void quit(void)
{
	if (quitting)
		return;
	quitting = 1;
	quit_ns = boottime_ns();
	for (size_t i = 0; i < count; i++)
		if (processes[i].state != DEAD)
			(void)shutdown(processes[i].socket, SHUT_RDWR);
}

static struct process *named(const char *name)
{
	for (size_t i = 0; name && i < count; i++)
		if (!strcmp(processes[i].app.name, name))
			return &processes[i];
	say_error(0, "no process is called %s", name ? name : "nothing");
	return NULL;
}

/* NAME UID OOM_SCORE_ADJ SIZE_KB COUNT COMPRESSIBLE_PCT TOUCH_MS */
static void take_row(char *line)
{
	int64_t uid, adj, size_kb, copies, compressible_pct, touch_ms;
	char *rest = NULL, *name;

	name = strtok_r(line, " \t", &rest);
	if (!name || name[0] == '#')
		return;
	/* Room for the number that COUNT may add. */
	if (!name_is_valid(name) || strlen(name) > NAME_MAX_LEN - 17 ||
	    parse_number(strtok_r(NULL, " \t", &rest), 0, INT32_MAX, &uid) ||
	    parse_number(strtok_r(NULL, " \t", &rest), -1000, 1000, &adj) ||
	    parse_number(strtok_r(NULL, " \t", &rest), 0, INT32_MAX, &size_kb) ||
	    parse_number(strtok_r(NULL, " \t", &rest), 1, PROCESSES_MAX, &copies) ||
	    parse_number(strtok_r(NULL, " \t", &rest), 0, 100, &compressible_pct) ||
	    parse_number(strtok_r(NULL, " \t", &rest), 0, INT32_MAX, &touch_ms) ||
	    strtok_r(NULL, " \t", &rest) || count + (size_t)copies > PROCESSES_MAX) {
		say_error(0,
			  "bad row for %s: want NAME UID OOM_SCORE_ADJ SIZE_KB COUNT "
			  "COMPRESSIBLE_PCT TOUCH_MS, at most 512 processes",
			  name);
		exit(2);
	}
	for (int64_t i = 0; i < copies; i++) {
		struct app *app = &processes[count++].app;

		if (copies > 1)
			snprintf(app->name, sizeof(app->name), "%.110s%d", name, (int)i + 1);
		else
			snprintf(app->name, sizeof(app->name), "%s", name);
		app->uid = (uid_t)(uid + i);
		app->adj = (int)adj;
		app->size_kb = (uint64_t)size_kb;
		app->compressible_pct = (unsigned int)compressible_pct;
		app->touch_ms = (uint64_t)touch_ms;
	}
}

static void take_command(char *line)
{
	char *rest = NULL, *word = strtok_r(line, " \t", &rest);
	struct process *process;
	int64_t mb, rate;
	int error = 0;

	if (!word)
		return;
	if (!strcmp(word, "quit")) {
		quit();
	} else if (!strcmp(word, "refill")) {
		if (filling)
			say_error(0, "still starting processes");
		else
			fill();
	} else if (!strcmp(word, "list")) {
		for (size_t i = 0; i < count; i++)
			say_process("process", boottime_ns(), &processes[i],
				    processes[i].state == DEAD ? ",\"alive\":false"
							       : ",\"alive\":true");
		say("{\"event\":\"listed\",\"count\":%zu}", count);
	} else if (!strcmp(word, "grow")) {
		process = named(strtok_r(NULL, " \t", &rest));
		if (!process)
			return;
		if (parse_number(strtok_r(NULL, " \t", &rest), 1, 65536, &mb) ||
		    parse_number(strtok_r(NULL, " \t", &rest), 0, 65536, &rate))
			say_error(0, "want: grow NAME MB MB_PER_S");
		else
			error = order(process, process->kb + (uint64_t)mb * 1024,
				      (uint64_t)rate * 1024);
	} else if (!strcmp(word, "shrink")) {
		process = named(strtok_r(NULL, " \t", &rest));
		if (process)
			error = order(process, process->app.size_kb, 0);
	} else {
		say_error(0, "unknown command %s", word);
	}
	if (error)
		say_error(error, "cannot reach %s", process->app.name);
}

static void take_line(char *line)
{
	if (!reading_table) {
		take_command(line);
	} else if (!strcmp(line, "go")) {
		reading_table = 0;
		fill();
	} else {
		take_row(line);
	}
}

static int read_table(const char *path)
{
	char line[LINE_MAX_LEN + 1];
	FILE *file = fopen(path, "re");

	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = '\0';
		take_row(line);
	}
	fclose(file);
	return 0;
}

/*
 * The record must be right while the device starves: never a victim, never swapped out,
 * awake at once. What is not allowed here is said in the hello line.
 */
static void protect(void)
{
	struct sched_param priority = {.sched_priority = 1};
	struct rlimit files = {.rlim_cur = FILES_OWN + FILES_EACH * PROCESSES_MAX,
			       .rlim_max = FILES_OWN + FILES_EACH * PROCESSES_MAX};
	int adj_error = set_adj(PARENT_ADJ);
	int locked = !mlockall(MCL_CURRENT | MCL_FUTURE);
	int realtime = !sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);

	/* Fails without root; then fewer processes fit, and starting one says so. */
	(void)setrlimit(RLIMIT_NOFILE, &files);
	say("{\"event\":\"hello\",\"time_ns\":%llu,\"pid\":%d,\"protected\":%s,\"locked\":%s,"
	    "\"realtime\":%s}",
	    (unsigned long long)boottime_ns(), (int)getpid(), adj_error ? "false" : "true",
	    locked ? "true" : "false", realtime ? "true" : "false");
}

/* Wait for what happens next and see to it; 0 to go on, else the exit code + 1. */
static int turn(void)
{
	struct epoll_event events[32];
	int ready = epoll_wait(epoll, events, 32, quitting || lease_s ? TICK_MS : -1);
	size_t alive = 0;

	for (int i = 0; i < ready; i++) {
		uint64_t index = events[i].data.u64 / 2;

		if (index == PROCESSES_MAX) {
			heard_ns = boottime_ns();
			if (read_lines(take_line) <= 0) {
				(void)epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
				quit();
			}
		} else if (processes[index].state != DEAD) {
			if (events[i].data.u64 % 2)
				bury(&processes[index], boottime_ns());
			else
				hear(&processes[index]);
		}
	}
	if (lease_s && boottime_ns() - heard_ns >= (uint64_t)lease_s * 1000000000u)
		quit();
	for (size_t i = 0; i < count; i++) {
		alive += processes[i].state != DEAD;
		if (quitting && processes[i].state != DEAD &&
		    boottime_ns() - quit_ns >= QUIT_PATIENCE_NS)
			kill(processes[i].pid, SIGKILL);
	}
	return quitting && !alive;
}

int main(int argc, char **argv)
{
	const char *path = NULL;
	int error;

	error = room_for_name(argc, argv);
	if (error) {
		say_error(error, "cannot execute /proc/self/exe");
		return 1;
	}
	own_argc = argc;
	own_argv = argv;
	/* The last argument is room_for_name()'s. */
	for (int i = 1; i < argc - 1; i++) {
		if (!strcmp(argv[i], "--lease-s") &&
		    !parse_number(argv[i + 1], 1, 3600, &lease_s)) {
			i++;
		} else if (argv[i][0] != '-' && !path) {
			path = argv[i];
		} else {
			say_error(0, "usage: lmk-population [--lease-s N] [TABLE]; not %s",
				  argv[i]);
			return 2;
		}
	}
	/* Written to by a host that has gone: that is seen as an error of write(2). */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)prctl(PR_SET_NAME, "lmk-population"); /* executed as /proc/self/exe */
	protect();
	heard_ns = boottime_ns();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || watch(STDIN_FILENO, PROCESSES_MAX, 0)) {
		say_error(-errno, "cannot wait on stdin");
		return 1;
	}
	reading_table = !path;
	if (path) {
		error = read_table(path);
		if (error) {
			say_error(error, "cannot read %s", path);
			return 2;
		}
		fill();
	}
	while (!turn())
		;
	say("{\"event\":\"end\",\"time_ns\":%llu}", (unsigned long long)boottime_ns());
	return 0;
}
