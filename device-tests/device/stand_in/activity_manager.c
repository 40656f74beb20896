// SPDX-License-Identifier: Apache-2.0
// A stand-in for ActivityManager's end of lmkd's socket: user system, one connection, made again
// for ever.
//
//     activity_manager --log FILE --send FIFO      returns once it runs
//
// What ProcessList.onLmkdConnect() sends it sends on each connection: that forgets who was
// registered, and registers nobody. Each line of FIFO, words in hex, is one packet, which waits
// while there is no connection; FILE gets a line for each event: CLOCK_BOOTTIME in ns, `connected`,
// `closed`, `dropped` (a packet that the connection did not take any more) or `got`, and for that
// what came, in hex.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SYSTEM	     1000
#define RECONNECT_MS 1000 /* LmkdConnection's */
#define WORDS_MAX    16
#define PAGE_KB	     4

enum { TARGET = 0, PROCPURGE = 3, SUBSCRIBE = 5 };

static int log_fd = -1;

static void note(const char *event, const uint8_t *bytes, ssize_t length)
{
	struct timespec now;
	char line[1024];
	int at;

	clock_gettime(CLOCK_BOOTTIME, &now);
	at = snprintf(line, sizeof(line), "%lld%09ld %s ", (long long)now.tv_sec, now.tv_nsec,
		      event);
	for (ssize_t i = 0; i < length && at < (int)sizeof(line) - 4; i++)
		at += snprintf(line + at, sizeof(line) - (size_t)at, "%02x", bytes[i]);
	line[at++] = '\n';
	if (write(log_fd, line, (size_t)at) != at)
		_exit(3);
}

static int send_words(int fd, const uint32_t *words, size_t count)
{
	uint32_t packet[WORDS_MAX];

	for (size_t i = 0; i < count; i++)
		packet[i] = htonl(words[i]);
	return send(fd, packet, count * sizeof(*packet), MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* -1: nobody is there. */
static int come(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/socket/lmkd"};
	const uint32_t purge[] = {PROCPURGE};
	/* Of a 64-bit phone with a large screen: updateOomLevels(). */
	const uint32_t target[] = {
		TARGET, 73728 / PAGE_KB,  0,   92160 / PAGE_KB,	 100, 110592 / PAGE_KB,
		200,	129024 / PAGE_KB, 250, 221184 / PAGE_KB, 900, 322560 / PAGE_KB,
		950,
	};
	const uint32_t kills[] = {SUBSCRIBE, 0}, stats[] = {SUBSCRIBE, 1};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		_exit(4);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) || send_words(fd, purge, 1) ||
	    send_words(fd, target, sizeof(target) / sizeof(target[0])) ||
	    send_words(fd, kills, 2) || send_words(fd, stats, 2)) {
		close(fd);
		return -1;
	}
	note("connected", NULL, 0);
	return fd;
}

static int pass_on(FILE *lines, int fd)
{
	uint32_t words[WORDS_MAX];
	char line[512], *rest = line;
	size_t count = 0;

	if (!fgets(line, sizeof(line), lines))
		return 0;
	for (char *word; count < WORDS_MAX && (word = strtok_r(rest, " \n", &rest));)
		words[count++] = (uint32_t)strtoul(word, NULL, 16);
	return send_words(fd, words, count);
}

static void live(const char *fifo)
{
	/* For writing too: so it never ends. Unbuffered: what poll(2) says is all there is. */
	FILE *lines = fdopen(open(fifo, O_RDWR | O_CLOEXEC), "r");
	int fd = -1;

	if (!lines)
		_exit(5);
	setvbuf(lines, NULL, _IONBF, 0);
	for (;;) {
		struct pollfd fds[2] = {{.fd = fd, .events = POLLIN},
					{.fd = fileno(lines), .events = POLLIN}};
		uint8_t bytes[256];
		ssize_t got;

		if (fd < 0) {
			fd = come();
			if (fd < 0)
				poll(NULL, 0, RECONNECT_MS);
			continue;
		}
		poll(fds, 2, -1);
		if (fds[0].revents) {
			got = recv(fd, bytes, sizeof(bytes), 0);
			if (got > 0) {
				note("got", bytes, got);
				continue;
			}
			note("closed", NULL, 0);
			close(fd);
			fd = -1;
		} else if (fds[1].revents && pass_on(lines, fd)) {
			note("dropped", NULL, 0); /* what is left to read comes first */
		}
	}
}

int main(int count, char **words)
{
	const char *log = NULL, *fifo = NULL;

	for (int i = 1; i + 1 < count; i += 2) {
		if (!strcmp(words[i], "--log"))
			log = words[i + 1];
		else if (!strcmp(words[i], "--send"))
			fifo = words[i + 1];
	}
	if (!log || !fifo)
		return 2;
	log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (log_fd < 0 || (mkfifo(fifo, 0622) && errno != EEXIST) || chown(fifo, SYSTEM, SYSTEM))
		return 1;
	if (fork())
		return 0;
	setsid();
	signal(SIGPIPE, SIG_IGN);
	for (int fd = 0, null = open("/dev/null", O_RDWR | O_CLOEXEC); fd < 3; fd++)
		dup2(null, fd);
	if (setgid(SYSTEM) || setuid(SYSTEM))
		return 1;
	live(fifo);
}
