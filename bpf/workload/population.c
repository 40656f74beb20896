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
 *     spawn NAME UID OOM_SCORE_ADJ SIZE_KB COMPRESSIBLE_PCT TOUCH_MS
 *                               start one more, or a dead one as what it is now to be
 *     adj NAME OOM_SCORE_ADJ    as ActivityManager does when an app comes and goes
 *     exit NAME                 have it end by itself
 *     refill                    start again what has died of the table
 *     watch MS                  a "vitals" line that often; 0: no more
 *     list                      one "process" line each
 *     quit                      end all, wait for them, exit (end of input means the same)
 *     (empty line)              the host lives: see --lease-s
 *
 * Answers are JSON lines. "start", "became" (it has its name, uid and adj), "adj", "leaving" and
 * "exit" are the device's own record of lives and deaths, in the order in which they happened.
 *
 * This process has oom_score_adj -1000 where it may (root): neither the kernel's OOM killer
 * nor lmk takes it, so the record survives. Its children die with it.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "lines.h"
#include "processes.h"
#include "vitals.h"

#define FILES_OWN  32
#define PARENT_ADJ (-1000)
#define TICK_MS	   200
#define WATCH_MAX  60000

enum other { STDIN, WATCH };

static int reading_table, quitting;
static uint64_t heard_ns;
static int64_t lease_s;
static int epoll = -1, watch_fd = -1;

static void quit(void)
{
	quitting = 1;
	processes_quit();
}

static struct process *named(const char *name)
{
	struct process *process = process_named(name);

	if (!process)
		say_error(0, "no process is called %s", name ? name : "nothing");
	return process;
}

/* NAME UID OOM_SCORE_ADJ SIZE_KB [COUNT] COMPRESSIBLE_PCT TOUCH_MS; 0 or -EINVAL. */
static int parse_app(char *name, char **rest, struct app *app, int64_t *copies)
{
	int64_t uid, adj, size_kb, compressible_pct, touch_ms;

	/* Room for the number that COUNT may add. */
	if (!name || !name_is_valid(name) || strlen(name) > NAME_MAX_LEN - 17 ||
	    parse_number(strtok_r(NULL, " \t", rest), 0, INT32_MAX, &uid) ||
	    parse_number(strtok_r(NULL, " \t", rest), -1000, 1000, &adj) ||
	    parse_number(strtok_r(NULL, " \t", rest), 0, INT32_MAX, &size_kb) ||
	    (copies && parse_number(strtok_r(NULL, " \t", rest), 1, PROCESSES_MAX, copies)) ||
	    parse_number(strtok_r(NULL, " \t", rest), 0, 100, &compressible_pct) ||
	    parse_number(strtok_r(NULL, " \t", rest), 0, INT32_MAX, &touch_ms) ||
	    strtok_r(NULL, " \t", rest))
		return -EINVAL;
	snprintf(app->name, sizeof(app->name), "%s", name);
	app->uid = (uid_t)uid;
	app->adj = (int)adj;
	app->size_kb = (uint64_t)size_kb;
	app->compressible_pct = (unsigned int)compressible_pct;
	app->touch_ms = (uint64_t)touch_ms;
	return 0;
}

static void take_row(char *line)
{
	char *rest = NULL, *name = strtok_r(line, " \t", &rest);
	struct app first = {0}, app;
	int64_t copies = 0;
	int error;

	if (!name || name[0] == '#')
		return;
	error = parse_app(name, &rest, &first, &copies);
	for (int64_t i = 0; !error && i < copies; i++) {
		app = first;
		app.uid += (uid_t)i;
		if (copies > 1)
			snprintf(app.name, sizeof(app.name), "%.110s%d", first.name, (int)i + 1);
		error = processes_add(&app);
	}
	if (error) {
		say_error(0,
			  "bad row for %s: want NAME UID OOM_SCORE_ADJ SIZE_KB COUNT "
			  "COMPRESSIBLE_PCT TOUCH_MS, at most %d processes",
			  name, PROCESSES_MAX);
		exit(2);
	}
}

static void spawn(char **rest)
{
	char *name = strtok_r(NULL, " \t", rest);
	struct app app = {0};
	int error;

	if (parse_app(name, rest, &app, NULL)) {
		say_error(0,
			  "want: spawn NAME UID OOM_SCORE_ADJ SIZE_KB COMPRESSIBLE_PCT TOUCH_MS");
		return;
	}
	error = processes_spawn(&app);
	if (error)
		say_error(error, "cannot start %s", app.name);
}

static int set_watch(int64_t interval_ms)
{
	struct timespec interval = {.tv_sec = interval_ms / 1000,
				    .tv_nsec = interval_ms % 1000 * 1000000};
	struct itimerspec timer = {.it_interval = interval, .it_value = interval};

	return timerfd_settime(watch_fd, 0, &timer, NULL) ? -errno : 0;
}

/* The orders whose first word is a name. */
static void take_order(const char *word, char **rest)
{
	char *name = strtok_r(NULL, " \t", rest);
	struct process *process = named(name);
	int64_t mb, rate, adj;
	int error = 0;

	if (!process)
		return;
	if (!strcmp(word, "grow")) {
		if (parse_number(strtok_r(NULL, " \t", rest), 1, 65536, &mb) ||
		    parse_number(strtok_r(NULL, " \t", rest), 0, 65536, &rate))
			say_error(0, "want: grow NAME MB MB_PER_S");
		else
			error = process_grow(process, (uint64_t)mb * 1024, (uint64_t)rate * 1024);
	} else if (!strcmp(word, "shrink")) {
		error = process_shrink(process);
	} else if (!strcmp(word, "adj")) {
		if (parse_number(strtok_r(NULL, " \t", rest), -1000, 1000, &adj))
			say_error(0, "want: adj NAME OOM_SCORE_ADJ");
		else
			error = process_adj(process, (int)adj);
	} else {
		error = process_exit(process);
	}
	if (error)
		say_error(error, "cannot %s %s", word, name);
}

static void take_command(char *line)
{
	static const char *const orders[] = {"grow", "shrink", "adj", "exit"};
	char *rest = NULL, *word = strtok_r(line, " \t", &rest);
	int64_t interval_ms;

	if (!word)
		return;
	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		if (!strcmp(word, orders[i])) {
			take_order(word, &rest);
			return;
		}
	}
	if (!strcmp(word, "quit")) {
		quit();
	} else if (!strcmp(word, "spawn")) {
		spawn(&rest);
	} else if (!strcmp(word, "refill")) {
		if (processes_fill())
			say_error(0, "still starting processes");
	} else if (!strcmp(word, "list")) {
		processes_list();
	} else if (!strcmp(word, "watch")) {
		if (parse_number(strtok_r(NULL, " \t", &rest), 0, WATCH_MAX, &interval_ms) ||
		    set_watch(interval_ms))
			say_error(0, "want: watch MS, at most %d", WATCH_MAX);
	} else {
		say_error(0, "unknown command %s", word);
	}
}

static void take_line(char *line)
{
	if (!reading_table) {
		take_command(line);
	} else if (!strcmp(line, "go")) {
		reading_table = 0;
		(void)processes_fill();
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
	struct rlimit files = {.rlim_cur = FILES_OWN + PROCESS_FILES * PROCESSES_MAX,
			       .rlim_max = FILES_OWN + PROCESS_FILES * PROCESSES_MAX};
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

static int wait_on(int fd, enum other number)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = PROCESSES_KEY_OTHER(number)};

	return fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static void look_at_device(void)
{
	uint64_t expirations;
	int error;

	if (read(watch_fd, &expirations, sizeof(expirations)) != sizeof(expirations))
		return;
	error = say_vitals(boottime_ns());
	if (error)
		say_error(error, "cannot read what /proc says of memory");
}

/* Wait for what happens next and see to it; 0 to go on. */
static int turn(void)
{
	struct epoll_event events[32];
	int ready = epoll_wait(epoll, events, 32, quitting || lease_s ? TICK_MS : -1);

	for (int i = 0; i < ready; i++) {
		if (events[i].data.u64 == PROCESSES_KEY_OTHER(STDIN)) {
			heard_ns = boottime_ns();
			if (read_lines(take_line) <= 0) {
				(void)epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
				quit();
			}
		} else if (events[i].data.u64 == PROCESSES_KEY_OTHER(WATCH)) {
			look_at_device();
		} else {
			processes_ready(events[i].data.u64);
		}
	}
	if (lease_s && boottime_ns() - heard_ns >= (uint64_t)lease_s * 1000000000u)
		quit();
	return processes_over();
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
	watch_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (epoll < 0 || wait_on(STDIN_FILENO, STDIN) || wait_on(watch_fd, WATCH)) {
		say_error(-errno, "cannot wait on stdin");
		return 1;
	}
	processes_init(epoll, argc, argv);
	reading_table = !path;
	if (path) {
		error = read_table(path);
		if (error) {
			say_error(error, "cannot read %s", path);
			return 2;
		}
		(void)processes_fill();
	}
	while (!turn())
		;
	say("{\"event\":\"end\",\"time_ns\":%llu}", (unsigned long long)boottime_ns());
	return 0;
}
