// SPDX-License-Identifier: Apache-2.0
#include "lmkd_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int lmkd_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	error = -errno;
	close(fd);
	return error;
}

int lmkd_send(int fd, const int32_t *words, size_t count)
{
	uint32_t packet[LMKD_WORDS_MAX];

	for (size_t i = 0; i < count; i++)
		packet[i] = htonl((uint32_t)words[i]);
	return send(fd, packet, count * sizeof(packet[0]), MSG_NOSIGNAL) < 0 ? -errno : 0;
}
