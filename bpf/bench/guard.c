// SPDX-License-Identifier: Apache-2.0
/*
 * lmk-bench guard: starts another killer, says what it uses, and ends it with the host.
 *
 *     lmk-bench guard [--socket PATH] [--log PATH] -- PROGRAM ARGUMENT…
 *
 * --socket gives the program what Android's init gives lmkd: a listening SOCK_SEQPACKET socket,
 * with its file descriptor in ANDROID_SOCKET_<last part of PATH>.
 *
 * On stdin: "usage" is answered with CPU time and memory of the program now; "quit" (or the
 * end of input, or --lease-s without a byte) ends it with SIGTERM, and SIGKILL when that is
 * not enough. Events: "start", "usage", "exit".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "host.h"
#include "identity.h"
#include "lines.h"
#include "options.h"

#define TICK_MS		 200
#define QUIT_PATIENCE_NS 5000000000u
#define BACKLOG		 4

static const char *socket_path = "", *log_path = "/dev/null";
static int64_t lease_s;
static uint64_t quit_ns;
static pid_t child;
static int pidfd;

static const struct bench_option table[] = {
	{"socket", NULL, &socket_path, 0, 0, "give it a listening SOCK_SEQPACKET socket there"},
	{"log", NULL, &log_path, 0, 0, "where its stdout and stderr go (/dev/null)"},
	{"lease-s", &lease_s, NULL, 0, 3600, "end when no byte came on stdin for that long"},
	{NULL, NULL, NULL, 0, 0, NULL},
};

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, on = 1, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (fd < 0)
		return -errno;
	(void)unlink(path); /* of one that was killed */
	/* lmkd takes the pid of who registers from the credentials. */
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, BACKLOG)) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

/* Never returns. */
static void become_program(char **arguments, int listening)
{
	int null = open("/dev/null", O_RDONLY);
	int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char key[128], value[16];
	const char *last = strrchr(socket_path, '/');

	if (null < 0 || log < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(126);
	(void)dup2(null, 0);
	(void)dup2(log, 1);
	(void)dup2(log, 2);
	if (listening >= 0) {
		snprintf(key, sizeof(key), "ANDROID_SOCKET_%s", last ? last + 1 : socket_path);
		snprintf(value, sizeof(value), "%d", listening);
		(void)setenv(key, value, 1);
	}
	(void)signal(SIGPIPE, SIG_DFL);
	execv(arguments[0], arguments);
	dprintf(2, "%s: %s\n", arguments[0], strerror(errno));
	_exit(127);
}

/* Nanoseconds on a CPU of all its threads, those that ended not counted. */
static unsigned long long cpu_ns(void)
{
	unsigned long long sum = 0;
	char path[96];
	struct dirent *entry;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)child);
	directory = opendir(path);
	while (directory && (entry = readdir(directory))) {
		unsigned long long ns;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", (int)child,
			 entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (file && fscanf(file, "%llu", &ns) == 1)
			sum += ns;
		if (file)
			fclose(file);
	}
	if (directory)
		closedir(directory);
	return sum;
}

static unsigned long long status_kb(const char *key)
{
	unsigned long long kb = 0;
	char path[64], line[256];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)child);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			(void)sscanf(line + strlen(key), " %llu", &kb);
	if (file)
		fclose(file);
	return kb;
}

static void take_line(char *line)
{
	if (!strcmp(line, "usage"))
		say("{\"event\":\"usage\",\"time_ns\":%llu,\"cpu_ns\":%llu,\"rss_kb\":%llu}",
		    (unsigned long long)boottime_ns(), cpu_ns(), status_kb("VmRSS:"));
	else
		say_error(0, "unknown command %s", line);
}

static void watch_child(void)
{
	struct pollfd end = {.fd = pidfd, .events = POLLIN};
	siginfo_t info = {0};
	int signalled = 0;

	host_begin(lease_s, take_line);
	while (!poll(&end, 1, quit_ns ? TICK_MS : 0)) {
		if (!quit_ns && !host_lives(TICK_MS)) {
			quit_ns = boottime_ns();
			kill(child, SIGTERM);
		}
		if (quit_ns && !signalled && boottime_ns() - quit_ns >= QUIT_PATIENCE_NS) {
			signalled = 1;
			kill(child, SIGKILL);
		}
	}
	(void)waitid(P_PID, (id_t)child, &info, WEXITED);
	say("{\"event\":\"exit\",\"time_ns\":%llu,\"asked\":%s,\"signal\":%d,\"code\":%d}",
	    (unsigned long long)boottime_ns(), quit_ns ? "true" : "false",
	    info.si_code == CLD_EXITED ? 0 : info.si_status,
	    info.si_code == CLD_EXITED ? info.si_status : 0);
}

int run_guard(int argc, char **argv)
{
	int first = take_options(argc, argv, table);
	int listening = -1;

	if (first < 0)
		return 2;
	if (first >= argc) {
		say_error(0, "no program given");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	/* Never the victim of what it guards; not in its way either. */
	(void)set_adj(-1000);
	if (*socket_path) {
		listening = listen_at(socket_path);
		if (listening < 0) {
			say_error(listening, "cannot listen at %s", socket_path);
			return 1;
		}
	}
	child = fork();
	if (child < 0) {
		say_error(-errno, "cannot fork");
		return 1;
	}
	if (child == 0)
		become_program(argv + first, listening);
	if (listening >= 0)
		close(listening);
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	if (pidfd < 0) {
		say_error(-errno, "cannot watch the program");
		kill(child, SIGKILL);
		return 1;
	}
	/* What it needs to answer lies in memory from now on. */
	(void)mlockall(MCL_CURRENT | MCL_FUTURE);
	say("{\"event\":\"start\",\"time_ns\":%llu,\"pid\":%d}", (unsigned long long)boottime_ns(),
	    (int)child);
	watch_child();
	if (*socket_path)
		(void)unlink(socket_path);
	return 0;
}
