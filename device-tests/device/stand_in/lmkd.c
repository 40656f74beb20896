// SPDX-License-Identifier: Apache-2.0
// A stand-in for lmkd: what init and ActivityManager see of it, and, if wanted, its kills.
//
//     lmkd [--log FILE] [--stubborn-while PATH] [--mute-while PATH] [--kill-below-kb N]
//     lmkd --ask           asks whoever serves lmkd's socket, as ActivityManager would, and says
//                          which pid that is; exit 0: it answered
//
// --stubborn-while PATH  will not stop when it is told to while there is such a file
// --mute-while PATH      takes what it is sent and does not answer while there is one
// --kill-below-kb N      with less MemAvailable, kills who has the highest oom_score_adj, 900 or
// above
//
// FILE gets a line for each event: CLOCK_BOOTTIME in ns, a word, a pid.
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS	   3 /* lmkd's MAX_DATA_CONN */
#define GETKILLCNT 4
#define FLOOR	   900
#define LOOK_MS	   50

static const char *log_path, *stubborn_path, *mute_path;
static long kill_below_kb;
static uint32_t kills;

static void note(const char *event, int pid)
{
	struct timespec now;
	char line[96];
	int fd, length;

	if (!log_path)
		return;
	clock_gettime(CLOCK_BOOTTIME, &now);
	length = snprintf(line, sizeof(line), "%lld%09ld %s %d\n", (long long)now.tv_sec,
			  now.tv_nsec, event, pid);
	fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, (size_t)length) != length)
		_exit(3);
	close(fd);
}

static bool there(const char *path)
{
	return path && !access(path, F_OK);
}

static long available_kb(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	long kb = -1;

	while (file && kb < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %ld", &kb) != 1)
			kb = -1;
	if (file)
		fclose(file);
	return kb;
}

static int adj_of(const char *pid)
{
	char path[64], text[16] = "";
	int fd, adj = -1000;

	snprintf(path, sizeof(path), "/proc/%.12s/oom_score_adj", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return adj;
	if (read(fd, text, sizeof(text) - 1) > 0)
		adj = atoi(text);
	close(fd);
	return adj;
}

static void look(void)
{
	int worst = FLOOR - 1, victim = 0;
	struct dirent *entry;
	DIR *proc;

	if (available_kb() >= kill_below_kb || !(proc = opendir("/proc")))
		return;
	while ((entry = readdir(proc))) {
		int adj = atoi(entry->d_name) > 0 ? adj_of(entry->d_name) : -1000;

		if (adj > worst) {
			worst = adj;
			victim = atoi(entry->d_name);
		}
	}
	closedir(proc);
	if (victim && !kill(victim, SIGKILL)) {
		kills++;
		note("kill", victim);
	}
}

/* false: it hung up. */
static bool serve(int fd)
{
	uint32_t words[16], reply[2] = {htonl(GETKILLCNT), htonl(kills)};
	ssize_t got = recv(fd, words, sizeof(words), MSG_DONTWAIT);

	if (got <= 0)
		return got < 0 && errno == EAGAIN;
	if (got >= 4 && ntohl(words[0]) == GETKILLCNT && !there(mute_path))
		send(fd, reply, sizeof(reply), MSG_NOSIGNAL);
	return true;
}

static void take_client(struct pollfd *clients, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < CLIENTS; i++) {
		if (clients[i].fd < 0) {
			clients[i].fd = fd;
			return;
		}
	}
	close(fd);
}

static int ask(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/socket/lmkd"};
	uint32_t words[3] = {htonl(GETKILLCNT), 0, htonl(1000)};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = 2};
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    send(fd, words, sizeof(words), MSG_NOSIGNAL) < 0 ||
	    recv(fd, words, sizeof(words), 0) != 8)
		return 1;
	if (ntohl(words[0]) != GETKILLCNT ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		return 1;
	dprintf(1, "%d\n", (int)peer.pid);
	return 0;
}

static void parse(int count, char **words)
{
	for (int i = 1; i < count; i++) {
		if (!strcmp(words[i], "--log") && i + 1 < count)
			log_path = words[++i];
		else if (!strcmp(words[i], "--kill-below-kb") && i + 1 < count)
			kill_below_kb = atol(words[++i]);
		else if (!strcmp(words[i], "--stubborn-while") && i + 1 < count)
			stubborn_path = words[++i];
		else if (!strcmp(words[i], "--mute-while") && i + 1 < count)
			mute_path = words[++i];
		else if (!strcmp(words[i], "--ask"))
			_exit(ask());
		else
			_exit(2);
	}
}

int main(int count, char **words)
{
	const char *inherited = getenv("ANDROID_SOCKET_lmkd");
	struct pollfd fds[CLIENTS + 2];
	sigset_t term;

	parse(count, words);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	fds[CLIENTS] = (struct pollfd){.fd = inherited ? atoi(inherited) : -1, .events = POLLIN};
	fds[CLIENTS + 1] =
		(struct pollfd){.fd = signalfd(-1, &term, SFD_CLOEXEC), .events = POLLIN};
	if (fds[CLIENTS].fd < 0 || listen(fds[CLIENTS].fd, CLIENTS))
		_exit(4);
	note("start", getpid());
	for (;;) {
		poll(fds, CLIENTS + 2, kill_below_kb ? LOOK_MS : -1);
		if (kill_below_kb)
			look();
		if (fds[CLIENTS + 1].revents) {
			struct signalfd_siginfo info;
			bool stays = there(stubborn_path);

			if (read(fds[CLIENTS + 1].fd, &info, sizeof(info)) < 0)
				_exit(5);
			note(stays ? "refused" : "stop", getpid());
			if (!stays)
				_exit(0);
		}
		for (int i = 0; i < CLIENTS; i++) {
			if (fds[i].fd >= 0 && fds[i].revents && !serve(fds[i].fd)) {
				close(fds[i].fd);
				fds[i].fd = -1;
			}
			fds[i].revents = 0;
		}
		if (fds[CLIENTS].revents)
			take_client(fds, fds[CLIENTS].fd);
	}
}
