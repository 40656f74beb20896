// SPDX-License-Identifier: Apache-2.0
// A stand-in for Android's log daemon, as far as writers see it: a datagram socket.
//
//     logd --log FILE      returns once the socket is there
//
// FILE gets a line for each datagram: uid and pid of who sent it, and the bytes in hex.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BYTES 4096 /* LOGGER_ENTRY_MAX_PAYLOAD is 4068 */

static void take(int socket_fd, int log_fd)
{
	static char line[2 * BYTES + 64];
	uint8_t bytes[BYTES];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec into = {bytes, sizeof(bytes)};
	struct msghdr message = {.msg_iov = &into,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t length = recvmsg(socket_fd, &message, 0);
	struct cmsghdr *header = length < 0 ? NULL : CMSG_FIRSTHDR(&message);
	struct ucred sender;
	int at;

	if (!header || header->cmsg_type != SCM_CREDENTIALS)
		return;
	memcpy(&sender, CMSG_DATA(header), sizeof(sender));
	at = snprintf(line, sizeof(line), "%u %d ", sender.uid, sender.pid);
	for (ssize_t i = 0; i < length; i++)
		at += snprintf(line + at, sizeof(line) - (size_t)at, "%02x", bytes[i]);
	line[at++] = '\n';
	if (write(log_fd, line, (size_t)at) != at)
		_exit(3);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/socket/logdw"};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1, log_fd;

	if (argc != 3 || strcmp(argv[1], "--log"))
		return 2;
	log_fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	mkdir("/dev/socket", 0755);
	unlink(address.sun_path);
	if (log_fd < 0 || fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    chmod(address.sun_path, 0222) ||
	    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		return 1;
	if (daemon(0, 0))
		return 1;
	for (;;)
		take(fd, log_fd);
}
