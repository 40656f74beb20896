// SPDX-License-Identifier: Apache-2.0
#include "lmkd_service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "daemons.h"
#include "process.h"
#include "property.h"

#define STATE "init.svc.lmkd"
/* Init kills with SIGKILL; one that does not end within that time hangs in the kernel. */
#define STOP_NS	 (5 * NSEC_PER_SEC)
#define PAUSE_US 5000

/* lmkd.h: LMK_GETKILLCNT min_adj max_adj -> LMK_GETKILLCNT count; big-endian words. */
#define GETKILLCNT 4

int lmkd_service_probe(char *why, size_t size)
{
	char state[PROPERTY_BYTES];
	struct daemon_process lmkd;
	int error = property_get(STATE, state);
	bool runs = daemons_find_lmkd(&lmkd);

	if (!error && state[0] && !access("/system/bin/setprop", X_OK))
		return 0;
	if (error == -ENOENT)
		snprintf(why, size, "there is no Android-like init here (no /system/bin/getprop)");
	else if (error)
		snprintf(why, size, "getprop " STATE ": %s", strerror(-error));
	else if (state[0])
		snprintf(why, size, "there is no /system/bin/setprop to stop lmkd with");
	else
		snprintf(why, size, "init knows no service lmkd (getprop " STATE " is empty)");
	if (runs) {
		size_t length = strlen(why);

		snprintf(why + length, size - length, ", yet lmkd runs, pid %d", lmkd.pid);
	}
	return -EOPNOTSUPP;
}

bool lmkd_service_runs(void)
{
	char state[PROPERTY_BYTES];
	struct daemon_process lmkd;

	return daemons_find_lmkd(&lmkd) || property_get(STATE, state) || strcmp(state, "stopped");
}

/* By its pidfd; an init of a moment ago may have let it end already. 0 or -ETIMEDOUT. */
static int wait_for_end(const struct daemon_process *lmkd, int pidfd, __u64 end_ns)
{
	for (;;) {
		struct pollfd ended = {.fd = pidfd, .events = POLLIN};
		__u64 now_ns = boottime_ns();

		if (!process_is(lmkd->pid, lmkd->start_ticks))
			return 0;
		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		if (poll(&ended, 1, (int)((end_ns - now_ns) / NSEC_PER_MSEC) + 1) > 0)
			return 0;
	}
}

/*
 * Init unlinks the socket of a service that has ended, and only then calls it stopped: a
 * socket of ours that stood there before would go with it.
 */
static int wait_for_stopped(__u64 end_ns)
{
	char state[PROPERTY_BYTES];

	for (;;) {
		int error = property_get(STATE, state);

		if (error)
			return error;
		if (!strcmp(state, "stopped"))
			return 0;
		if (boottime_ns() >= end_ns)
			return -ETIMEDOUT;
		usleep(PAUSE_US);
	}
}

static void roll_back(char *why, size_t size)
{
	size_t length = strlen(why);
	int error = lmkd_service_start();

	if (error)
		snprintf(why + length, size - length,
			 "; and init does not start it again: setprop ctl.start lmkd: %s",
			 strerror(-error));
}

int lmkd_service_stop(__u64 *ended_ns, char *why, size_t size)
{
	__u64 end_ns = boottime_ns() + STOP_NS;
	struct daemon_process lmkd;
	int pidfd = -1, error;
	bool runs = daemons_find_lmkd(&lmkd);

	*ended_ns = 0;
	if (runs) {
		pidfd = pidfd_open(lmkd.pid);
		if (pidfd < 0 && pidfd != -ESRCH) {
			snprintf(why, size, "lmkd, pid %d, cannot be watched: %s", lmkd.pid,
				 strerror(-pidfd));
			return pidfd;
		}
	}
	error = property_set("ctl.stop", "lmkd");
	if (error) {
		snprintf(why, size, "init does not stop lmkd: setprop ctl.stop lmkd: %s",
			 strerror(-error));
		goto out;
	}
	if (runs) {
		error = wait_for_end(&lmkd, pidfd, end_ns);
		if (error) {
			snprintf(why, size,
				 "lmkd, pid %d, did not end within %llu s of setprop ctl.stop lmkd",
				 lmkd.pid, STOP_NS / NSEC_PER_SEC);
			goto out;
		}
		*ended_ns = boottime_ns();
	}
	error = wait_for_stopped(end_ns);
	if (error)
		snprintf(why, size, "init does not call lmkd stopped: getprop " STATE ": %s",
			 strerror(-error));
out:
	if (error)
		roll_back(why, size);
	if (pidfd >= 0)
		close(pidfd);
	return error;
}

int lmkd_service_start(void)
{
	return property_set("ctl.start", "lmkd");
}

/* One question. 0, or -errno: -ECONNREFUSED and -ENOENT while nobody listens yet. */
static int ask(__u64 end_ns)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = LMKD_SOCKET};
	__u32 words[3] = {htonl(GETKILLCNT), 0, htonl(1000)};
	struct timeval patience = {.tv_usec = 1};
	__u64 now_ns = boottime_ns();
	ssize_t got;
	int fd, error = 0;

	if (now_ns >= end_ns)
		return -ETIMEDOUT;
	patience.tv_sec = (time_t)((end_ns - now_ns) / NSEC_PER_SEC);
	patience.tv_usec = (suseconds_t)((end_ns - now_ns) % NSEC_PER_SEC / 1000) + 1;
	if (patience.tv_usec >= 1000000)
		patience.tv_usec = 999999;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* connect(2) to a full queue of one that does not accept waits as long as a send. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    send(fd, words, sizeof(words), MSG_NOSIGNAL) < 0) {
		error = -errno;
		goto out;
	}
	got = recv(fd, words, sizeof(words), 0);
	if (got < 0)
		error = -errno;
	else if (!got)
		error = -ECONNRESET;
	else if (got != 8 || ntohl(words[0]) != GETKILLCNT)
		error = -EPROTO;
out:
	close(fd);
	return error;
}

int lmkd_service_wait(__u64 patience_ns, __u64 *answered_ns)
{
	__u64 end_ns = boottime_ns() + patience_ns;

	for (;;) {
		int error = ask(end_ns);

		*answered_ns = boottime_ns();
		if (!error)
			return 0;
		if (*answered_ns >= end_ns)
			return error == -EAGAIN ? -ETIMEDOUT : error;
		usleep(PAUSE_US);
	}
}
