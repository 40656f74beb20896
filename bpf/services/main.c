// SPDX-License-Identifier: Apache-2.0
// lmk-services run DIR             boots by DIR/NAME.rc, and looks after the services
// lmk-services ctl.start NAME      (ctl.stop, ctl.restart): asks the one that runs
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "services.h"

static int log_fd = -1;

uint64_t boottime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void log_event(const char *format, ...)
{
	va_list arguments;
	char text[256];
	int head = snprintf(text, sizeof(text), "%llu ", (unsigned long long)boottime_ns());
	int body;
	ssize_t written;

	va_start(arguments, format);
	body = vsnprintf(text + head, sizeof(text) - (size_t)head - 1, format, arguments);
	va_end(arguments);
	if (head + body > (int)sizeof(text) - 2)
		body = (int)sizeof(text) - 2 - head;
	text[head + body] = '\n';
	written = write(log_fd, text, (size_t)(head + body + 1));
	(void)written; /* the guest's disk is full: its test fails by itself */
}

static void fail(const char *what)
{
	fprintf(stderr, "lmk-services: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int control_address(struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, CONTROL_SOCKET);
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

static int control_listen(void)
{
	struct sockaddr_un address;
	int fd = control_address(&address);

	unlink(address.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    chmod(address.sun_path, 0600) || listen(fd, 8))
		fail(CONTROL_SOCKET);
	return fd;
}

/* "ctl.stop lmkd": the answer is empty, or why not. */
static const char *carry_out(char *words)
{
	char *name = strchr(words, ' ');
	struct service *service;

	if (!name)
		return "ctl.WHAT NAME";
	*name++ = 0;
	service = service_find(name);
	if (!service)
		return "no such service";
	if (!strcmp(words, "ctl.start")) {
		service_start(service);
	} else if (!strcmp(words, "ctl.stop")) {
		service_stop(service);
	} else if (!strcmp(words, "ctl.restart")) {
		service_stop(service);
		service_start(service);
	} else {
		return "not start, stop or restart";
	}
	return "";
}

static void hear_control(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char words[128];
	const char *answer;
	ssize_t got;

	if (fd < 0)
		return;
	got = recv(fd, words, sizeof(words) - 1, 0);
	if (got > 0) {
		words[got] = 0;
		answer = carry_out(words);
		send(fd, answer, strlen(answer) + 1, MSG_NOSIGNAL);
	}
	close(fd);
}

/* What is due to be started again; how long until the next is, -1: none. */
static int restart_due(void)
{
	uint64_t now_ns = boottime_ns(), next_ns = 0;

	for (unsigned int i = 0; i < services_count; i++) {
		struct service *service = &services[i];

		if (service->start_next_ns && service->start_next_ns <= now_ns)
			service_start(service);
		if (service->start_next_ns && (!next_ns || service->start_next_ns < next_ns))
			next_ns = service->start_next_ns;
	}
	return next_ns ? (int)((next_ns - now_ns) / 1000000) + 1 : -1;
}

static void look_after(int listener, int watch)
{
	for (;;) {
		struct pollfd fds[SERVICES_MAX + 2];
		int timeout_ms = restart_due();

		for (unsigned int i = 0; i < services_count; i++)
			fds[i] = (struct pollfd){.fd = services[i].pidfd, .events = POLLIN};
		fds[services_count] = (struct pollfd){.fd = listener, .events = POLLIN};
		fds[services_count + 1] = (struct pollfd){.fd = watch, .events = POLLIN};
		if (poll(fds, services_count + 2, timeout_ms) <= 0)
			continue;
		for (unsigned int i = 0; i < services_count; i++)
			if (fds[i].revents)
				service_ended(&services[i]);
		if (fds[services_count].revents)
			hear_control(listener);
		if (fds[services_count + 1].revents)
			properties_read(watch);
		actions_do();
	}
}

/* In Android's order, the steps that rc files of services wait for. */
static void boot(int watch)
{
	static const char *const early[] = {"early-init", "init", "late-init", "post-fs",
					    "post-fs-data"};
	char completed[PROPERTY_VALUE];

	for (unsigned int i = 0; i < sizeof(early) / sizeof(early[0]); i++)
		event_happened(early[i]);
	for (unsigned int i = 0; i < services_count; i++)
		if (!services[i].disabled)
			service_start(&services[i]);
	event_happened("boot");
	/* What was set so far counts as it is now, once. */
	properties_read(watch);
	properties_count_now();
	/* Android's system server says so; here nothing else is left to be started. */
	property_get("sys.boot_completed", completed);
	if (strcmp(completed, "1") != 0)
		property_set("sys.boot_completed", "1");
}

/* As pid 1's child; who started it waits until the services run. */
static int run(const char *directory)
{
	int listener, watch, error, ready[2];
	char byte = 0;
	pid_t pid;

	mkdir(FOLDER, 0755);
	log_fd = open(FOLDER "/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (log_fd < 0 || pipe2(ready, O_CLOEXEC))
		fail(FOLDER "/log");
	error = rc_read_folder(directory);
	if (error) {
		errno = -error;
		fail(directory);
	}
	pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid) {
		close(ready[1]);
		/* The one in between ends at once: then its child is pid 1's. */
		return read(ready[0], &byte, 1) == 1 ? 0 : 1;
	}
	setsid();
	if (fork())
		_exit(0);
	while (getppid() != 1)
		usleep(1000);
	signal(SIGPIPE, SIG_IGN);
	for (int fd = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC); fd < 3; fd++)
		dup2(null, fd);
	listener = control_listen();
	watch = properties_watch();
	if (watch < 0)
		fail(PROPERTIES);
	boot(watch);
	if (write(ready[1], &byte, 1) != 1)
		_exit(1);
	close(ready[1]);
	look_after(listener, watch);
	return 0;
}

static int ask(const char *what, const char *name)
{
	struct sockaddr_un address;
	int fd = control_address(&address);
	char words[128];
	ssize_t got;

	snprintf(words, sizeof(words), "%s %s", what, name);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    send(fd, words, strlen(words), MSG_NOSIGNAL) < 0)
		fail(CONTROL_SOCKET);
	got = recv(fd, words, sizeof(words), 0);
	if (got <= 0)
		fail("no answer");
	words[got - 1] = 0;
	if (words[0])
		fprintf(stderr, "lmk-services: %s %s: %s\n", what, name, words);
	return words[0] ? 1 : 0;
}

int main(int count, char **words)
{
	if (count == 3 && !strcmp(words[1], "run"))
		return run(words[2]);
	if (count == 3 && !strncmp(words[1], "ctl.", 4))
		return ask(words[1], words[2]);
	fputs("usage: lmk-services run DIR | ctl.start|ctl.stop|ctl.restart NAME\n", stderr);
	return 2;
}
