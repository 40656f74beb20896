// SPDX-License-Identifier: Apache-2.0
// A service's process: started as a child of pid 1, stopped, buried.
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "services.h"

#define SOCKET_DIR "/dev/socket"
/* As Android's process groups: a cgroup for each service, with all that it starts. */
#define CGROUPS "/sys/fs/cgroup/services"
#define NSEC	1000000000ULL
/* As Android's init: a service that ends is started again 5 s after its last start. */
#define RESTART_NS  (5 * NSEC)
#define CRITICAL_NS (240 * NSEC)
#define CRITICAL    4

static void set_state(const struct service *service, const char *state)
{
	char name[64];

	/* The pid first: who waits for the state may ask for it. */
	snprintf(name, sizeof(name), "init.svc_debug_pid.%s", service->name);
	if (service->pid)
		property_set(name, "%d", (int)service->pid);
	else
		property_set(name, "%s", "");
	snprintf(name, sizeof(name), "init.svc.%s", service->name);
	property_set(name, "%s", state);
	property_changed(name);
}

static void cgroup_path(const struct service *service, const char *file, char path[128])
{
	snprintf(path, 128, CGROUPS "/%s%s", service->name, file);
}

/* -1: no cgroups here. */
static int open_cgroup(const struct service *service)
{
	char path[128];

	cgroup_path(service, "", path);
	mkdir(CGROUPS, 0755);
	mkdir(path, 0755);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* SIGKILL to all that the service has started. false: there is no such file. */
static bool kill_all(const struct service *service)
{
	char path[128];
	bool killed;
	int fd;

	cgroup_path(service, "/cgroup.kill", path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	killed = write(fd, "1", 1) == 1;
	close(fd);
	return killed;
}

static void socket_path(const struct service *service, struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), SOCKET_DIR "/%s", service->socket);
}

/* Bound, not listening: the service does that. -1: it has none, or none could be made. */
static int make_socket(const struct service *service)
{
	struct sockaddr_un address;
	int fd, on = 1;

	if (!service->socket[0])
		return -1;
	socket_path(service, &address);
	mkdir(SOCKET_DIR, 0755);
	unlink(address.sun_path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    chmod(address.sun_path, service->socket_mode) ||
	    chown(address.sun_path, service->socket_uid, service->socket_gid))
		log_event("%s: socket %s: %s", service->name, address.sun_path, strerror(errno));
	return fd;
}

/* Never returns. */
static void become(char *const *command, const struct identity *identity, int oom_score_adj,
		   const char *output)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int said = open(output, O_WRONLY | O_CLOEXEC);
	int adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	dup2(null, 0);
	dup2(said, 1);
	dup2(said, 2);
	setsid();
	if (adj < 0 || dprintf(adj, "%d", oom_score_adj) < 0)
		_exit(126);
	if (setgroups(identity->groups_count, identity->groups) ||
	    setgid(identity->groups_count ? identity->groups[0] : 0) || setuid(identity->uid)) {
		log_event("%s: its user: %s", command[0], strerror(errno));
		_exit(126);
	}
	execv(command[0], command);
	log_event("%s: %s", command[0], strerror(errno));
	_exit(127);
}

static void hand_over(const struct service *service, int fd)
{
	char key[64], value[16];

	snprintf(key, sizeof(key), "ANDROID_SOCKET_%s", service->socket);
	snprintf(value, sizeof(value), "%d", fd);
	setenv(key, value, 1);
	fcntl(fd, F_SETFD, 0);
}

/* Pid 1's child, as init's would be: whoever tells lmkd by its parent finds it there. */
static long clone_for_init(int *pidfd, int cgroup)
{
	struct clone_args arguments = {.flags = CLONE_PARENT | CLONE_PIDFD,
				       .pidfd = (uint64_t)(uintptr_t)pidfd};

	if (cgroup >= 0) {
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = (unsigned int)cgroup;
	}
	return syscall(SYS_clone3, &arguments, sizeof(arguments));
}

void run_in_background(char *const *command, const struct identity *identity)
{
	int pidfd;
	long pid = clone_for_init(&pidfd, -1);

	if (!pid)
		become(command, identity, -1000, "/dev/null");
	if (pid < 0) {
		log_event("%s: clone3: %s", command[0], strerror(errno));
		return;
	}
	close(pidfd);
	log_event("exec_background %s %d", command[0], (int)pid);
}

void service_start(struct service *service)
{
	int fd, cgroup;
	long pid;

	service->start_next_ns = 0;
	if (service->pid) {
		/* One that is being stopped: should it end after all, it is wanted again. */
		if (service->stopping) {
			service->stopping = false;
			service->start_again = true;
			set_state(service, "running");
		}
		return;
	}
	fd = make_socket(service);
	service->started_ns = boottime_ns();
	cgroup = open_cgroup(service);
	pid = clone_for_init(&service->pidfd, cgroup);
	if (!pid) {
		if (fd >= 0)
			hand_over(service, fd);
		become(service->command.word, &service->identity, service->oom_score_adj,
		       service->stdio_to_kmsg ? "/dev/kmsg" : "/dev/null");
	}
	if (fd >= 0)
		close(fd);
	if (cgroup >= 0)
		close(cgroup);
	if (pid < 0) {
		log_event("%s: clone3: %s", service->name, strerror(errno));
		return;
	}
	service->pid = (pid_t)pid;
	service->stopping = service->start_again = false;
	log_event("start %s %d", service->name, (int)pid);
	set_state(service, "running");
}

void service_stop(struct service *service)
{
	service->start_next_ns = 0;
	service->start_again = false;
	if (!service->pid) {
		set_state(service, "stopped");
		return;
	}
	service->stopping = true;
	set_state(service, "stopping");
	log_event("stop %s %d", service->name, (int)service->pid);
	if (service->gentle || !kill_all(service))
		syscall(SYS_pidfd_send_signal, service->pidfd, service->gentle ? SIGTERM : SIGKILL,
			NULL, 0);
}

/* Android's would reboot; here it is said, so that a test can see that it would. */
static void count_end(struct service *service)
{
	unsigned int last = service->restarts % CRITICAL;
	uint64_t fourth_last_ns = service->ended_ns[last];
	char name[64];

	service->ended_ns[last] = boottime_ns();
	service->restarts++;
	snprintf(name, sizeof(name), "lmk.test.restarts.%s", service->name);
	property_set(name, "%u", service->restarts);
	if (service->restarts >= CRITICAL &&
	    (service->restarts == CRITICAL ||
	     service->ended_ns[last] - fourth_last_ns < CRITICAL_NS))
		log_event("critical %s: Android's init would reboot into the bootloader now",
			  service->name);
}

void service_ended(struct service *service)
{
	struct sockaddr_un address;
	bool asked = service->stopping || service->start_again;
	uint64_t now_ns = boottime_ns();

	log_event("end %s %d", service->name, (int)service->pid);
	close(service->pidfd);
	service->pidfd = -1;
	service->pid = 0;
	/* Before its state says so, as init does: the place may be somebody else's from then on. */
	if (service->socket[0]) {
		socket_path(service, &address);
		unlink(address.sun_path);
	}
	if (!asked && service->critical)
		count_end(service);
	if (service->stopping || (service->oneshot && !service->start_again)) {
		service->stopping = false;
		set_state(service, "stopped");
		return;
	}
	set_state(service, "restarting");
	if (service->start_again || now_ns - service->started_ns >= RESTART_NS) {
		service_start(service);
		return;
	}
	service->start_next_ns = service->started_ns + RESTART_NS;
}
