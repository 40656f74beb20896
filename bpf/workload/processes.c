// SPDX-License-Identifier: Apache-2.0
#include "processes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lines.h"

#define QUIT_PATIENCE_NS 5000000000u
/* An order on its way to one that has just died still finds whom it was for. */
#define DEAD_KEPT 64

enum process_state { DEAD, STARTING, ALIVE };

struct process {
	struct app app;
	enum process_state state;
	int became; /* has its name, uid and adj */
	int in_table;
	int spawned; /* this life of it was asked for by name */
	int adj_due; /* asked for before it became what its row says; then `due_adj` */
	int due_adj;
	uint64_t died_ns;
	pid_t pid;
	int pidfd;
	int socket;
	uint64_t ticks; /* start time, with the pid its identity */
	uint64_t kb;
};

static struct process processes[PROCESSES_MAX];
static size_t count, alive;
static size_t next_start; /* processes before this were started in this filling */
static int filling, quitting, epoll_fd, own_argc;
static uint64_t quit_ns;
static char **own_argv;

void processes_init(int epoll, int argc, char **argv)
{
	epoll_fd = epoll;
	own_argc = argc;
	own_argv = argv;
}

static void say_process(const char *event, uint64_t time_ns, const struct process *process,
			const char *more)
{
	say("{\"event\":\"%s\",\"time_ns\":%llu,\"name\":\"%s\",\"pid\":%d,\"start_ticks\":%llu,"
	    "\"uid\":%u,\"adj\":%d,\"kb\":%llu%s}",
	    event, (unsigned long long)time_ns, process->app.name, (int)process->pid,
	    (unsigned long long)process->ticks, process->app.uid, process->app.adj,
	    (unsigned long long)process->kb, more);
}

static int say_gone(const struct process *process)
{
	say_process("gone", boottime_ns(), process, "");
	return 0;
}

static int watch(int fd, size_t index, unsigned int is_pidfd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = index * 2 + is_pidfd};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* One that is just dying says so by its pidfd. */
static int order(struct process *process, uint64_t to_kb, uint64_t rate_kb_per_s)
{
	struct app_order text = {.to_kb = to_kb, .rate_kb_per_s = rate_kb_per_s};

	if (process->state == DEAD)
		return say_gone(process);
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
	process->became = process->adj_due = 0;
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	error = process->pidfd < 0 ? -errno : start_ticks(process->pid, &process->ticks);
	if (!error)
		error = watch(process->pidfd, index, 1);
	if (!error)
		error = watch(process->socket, index, 0);
	if (error)
		goto out_child;
	process->state = STARTING;
	alive++;
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
	size_t ready = 0;

	while (filling && !quitting && next_start < count) {
		size_t index = next_start++;
		int error;

		if (processes[index].state != DEAD || !processes[index].in_table)
			continue;
		processes[index].spawned = 0;
		error = start(index);
		if (!error)
			return;
		say_error(error, "cannot start %s", processes[index].app.name);
	}
	if (!filling)
		return;
	filling = 0;
	for (size_t i = 0; i < count; i++)
		ready += processes[i].state == ALIVE;
	say("{\"event\":\"ready\",\"time_ns\":%llu,\"alive\":%zu,\"dead\":%zu}",
	    (unsigned long long)boottime_ns(), ready, count - ready);
}

int processes_fill(void)
{
	if (filling)
		return -EBUSY;
	filling = 1;
	next_start = 0;
	start_next();
	return 0;
}

static void hear(struct process *process)
{
	struct app_answer text;
	int was_starting = process->state == STARTING;

	/* The end of a process comes by its pidfd; here it is only no answer. */
	if (recv(process->socket, &text, sizeof(text), MSG_DONTWAIT) != sizeof(text)) {
		(void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, process->socket, NULL);
		return;
	}
	process->kb = text.kb;
	if (text.state == APP_FAILED) {
		say_error(text.error, "%s (oom_score_adj %d, uid %u) failed at %llu KiB",
			  process->app.name, process->app.adj, process->app.uid,
			  (unsigned long long)text.kb);
	} else if (text.state == APP_BECAME) {
		process->became = 1;
		say_process("became", boottime_ns(), process, "");
		if (process->adj_due && process_adj(process, process->due_adj))
			say_error(0, "cannot change the adj of %s", process->app.name);
	} else if (text.state == APP_DONE && was_starting) {
		process->state = ALIVE;
		if (process->spawned)
			say_process("sized", boottime_ns(), process, "");
		else
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
	process->died_ns = time_ns;
	alive--;
	snprintf(more, sizeof(more), ",\"signal\":%d,\"code\":%d,\"quitting\":%s",
		 info.si_code == CLD_EXITED ? 0 : info.si_status,
		 info.si_code == CLD_EXITED ? info.si_status : 0, quitting ? "true" : "false");
	say_process("exit", time_ns, process, more);
	if (was_starting && !process->spawned)
		start_next();
}

void processes_ready(uint64_t key)
{
	struct process *process = &processes[key / 2];

	/* Its end may have come first in the same turn. */
	if (process->state == DEAD)
		return;
	if (key % 2)
		bury(process, boottime_ns());
	else
		hear(process);
}

void processes_quit(void)
{
	if (quitting)
		return;
	quitting = 1;
	quit_ns = boottime_ns();
	for (size_t i = 0; i < count; i++)
		if (processes[i].state != DEAD)
			(void)shutdown(processes[i].socket, SHUT_RDWR);
}

int processes_over(void)
{
	if (!quitting || !alive)
		return quitting;
	if (boottime_ns() - quit_ns < QUIT_PATIENCE_NS)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (processes[i].state != DEAD)
			kill(processes[i].pid, SIGKILL);
	return 0;
}

void processes_list(void)
{
	for (size_t i = 0; i < count; i++)
		say_process("process", boottime_ns(), &processes[i],
			    processes[i].state == DEAD ? ",\"alive\":false" : ",\"alive\":true");
	say("{\"event\":\"listed\",\"count\":%zu}", count);
}

int processes_add(const struct app *app)
{
	if (count >= PROCESSES_MAX)
		return -ENOSPC;
	processes[count].app = *app;
	processes[count].in_table = 1;
	count++;
	return 0;
}

/* Where one called `name` goes: where it was before, else where nobody has been for longest. */
static struct process *place_for(const char *name)
{
	struct process *process = process_named(name), *oldest = NULL;
	size_t dead = 0;

	if (process)
		return process;
	for (size_t i = 0; i < count; i++) {
		process = &processes[i];
		if (process->state != DEAD || process->in_table)
			continue;
		dead++;
		if (!oldest || process->died_ns < oldest->died_ns)
			oldest = process;
	}
	if (dead < DEAD_KEPT && count < PROCESSES_MAX)
		return &processes[count++];
	return oldest;
}

int processes_spawn(const struct app *app)
{
	struct process *process = place_for(app->name);

	if (!process)
		return -ENOSPC;
	if (process->state != DEAD)
		return -EEXIST;
	process->app = *app;
	process->spawned = 1;
	return start((size_t)(process - processes));
}

struct process *process_named(const char *name)
{
	for (size_t i = 0; name && i < count; i++)
		if (!strcmp(processes[i].app.name, name))
			return &processes[i];
	return NULL;
}

int process_grow(struct process *process, uint64_t kb, uint64_t rate_kb_per_s)
{
	return order(process, process->kb + kb, rate_kb_per_s);
}

int process_shrink(struct process *process)
{
	return order(process, process->app.size_kb, 0);
}

/* Not later than `time_ns`, not before `since_ns`: a killer may have seen either in between. */
int process_adj(struct process *process, int adj)
{
	int was = process->app.adj, error;
	char more[96];
	uint64_t since_ns;

	if (process->state == DEAD)
		return say_gone(process);
	/* It writes its own on its way to becoming what its row says. */
	if (!process->became) {
		process->adj_due = 1;
		process->due_adj = adj;
		return 0;
	}
	since_ns = boottime_ns();
	error = set_adj_of(process->pid, adj);
	if (error)
		return error;
	process->app.adj = adj;
	snprintf(more, sizeof(more), ",\"since_ns\":%llu,\"was\":%d", (unsigned long long)since_ns,
		 was);
	say_process("adj", boottime_ns(), process, more);
	return 0;
}

int process_exit(struct process *process)
{
	if (process->state == DEAD)
		return say_gone(process);
	say_process("leaving", boottime_ns(), process, "");
	return shutdown(process->socket, SHUT_RDWR) ? -errno : 0;
}
