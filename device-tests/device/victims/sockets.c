// SPDX-License-Identifier: Apache-2.0
// Clients of the agent's sockets, and who takes their names.
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "victims.h"

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

void connect_to(const char *name, const char *hex)
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

void squat(const char *name, const char *hex)
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
