// SPDX-License-Identifier: Apache-2.0
#include "socket.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define UID_ROOT   0
#define UID_SYSTEM 1000
#define UID_SHELL  2000

/* Draws before giving up: nobody can hold even two of 2^64 names by chance. */
#define NAME_DRAWS 8

int random_bytes(void *out, size_t size)
{
	ssize_t got;

	do {
		got = getrandom(out, size, 0);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return (size_t)got == size ? 0 : -EIO;
}

static socklen_t abstract_address(struct sockaddr_un *address, const char *name)
{
	size_t length = strlen(name);

	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path + 1, name, length);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

int socket_listen(const char *prefix, char name[SOCKET_NAME])
{
	struct sockaddr_un address;
	int fd, error;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	for (int draw = 0; draw < NAME_DRAWS; draw++) {
		__u64 suffix;

		error = random_bytes(&suffix, sizeof(suffix));
		if (error)
			break;
		snprintf(name, SOCKET_NAME, "%s-%016llx", prefix, suffix);
		error = bind(fd, (struct sockaddr *)&address, abstract_address(&address, name))
				? -errno
				: 0;
		if (error != -EADDRINUSE)
			break;
	}
	if (!error && listen(fd, 8))
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

int socket_connect(const char *name)
{
	struct sockaddr_un address;
	int fd, error;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, abstract_address(&address, name))) {
		error = -errno;
		close(fd);
		return error;
	}
	return fd;
}

int socket_accept(int listener, struct record_peer *peer)
{
	struct ucred credentials = {0};
	socklen_t length = sizeof(credentials);
	int fd;

	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length)) {
		int error = -errno;

		close(fd);
		return error;
	}
	peer->uid = credentials.uid;
	peer->pid = (__u32)credentials.pid;
	return fd;
}

bool socket_uid_allowed(__u32 uid)
{
	return uid == UID_ROOT || uid == UID_SYSTEM || uid == UID_SHELL;
}

bool token_matches(const __u8 *ours, const __u8 *theirs, size_t theirs_length)
{
	unsigned int difference = 0;

	if (theirs_length != TOKEN_BYTES)
		return false;
	for (int i = 0; i < TOKEN_BYTES; i++)
		difference |= (unsigned int)(ours[i] ^ theirs[i]);
	return difference == 0;
}
