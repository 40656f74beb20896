// SPDX-License-Identifier: Apache-2.0
#include "lmkd_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UID_ROOT   0
#define UID_SYSTEM 1000
#define GID_SYSTEM 1000

/* True: a socket file that nobody listens at. */
static bool is_abandoned(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool abandoned;

	if (fd < 0)
		return false;
	abandoned = connect(fd, (const struct sockaddr *)address, sizeof(*address)) &&
		    errno == ECONNREFUSED;
	close(fd);
	return abandoned;
}

static int bind_at(int fd, const struct sockaddr_un *address)
{
	const struct sockaddr *at = (const struct sockaddr *)address;

	if (!bind(fd, at, sizeof(*address)))
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (!is_abandoned(address))
		return -EADDRINUSE;
	if (unlink(address->sun_path) && errno != ENOENT)
		return -errno;
	return bind(fd, at, sizeof(*address)) ? -errno : 0;
}

int lmkd_listen(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	error = bind_at(fd, &address);
	/* Nobody can connect before listen(2): whose it is, is settled by then. */
	if (!error && (chown(path, UID_SYSTEM, GID_SYSTEM) || chmod(path, 0660)))
		error = -errno;
	if (!error && listen(fd, LMKD_BACKLOG))
		error = -errno;
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}

bool lmkd_uid_allowed(__u32 uid)
{
	return uid == UID_ROOT || uid == UID_SYSTEM;
}

enum lmkd_receipt lmkd_receive(int fd, __u8 *bytes, size_t size, size_t *length,
			       struct ucred *sender)
{
	/* Room for the sender alone: descriptors that somebody sends along find none. */
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec place = {.iov_base = bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &place, .msg_iovlen = 1};
	struct cmsghdr *header;
	ssize_t got;

	do {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
		/*
		 * ECONNRESET, told once: it left without having read everything. What it sent
		 * before it left is still there.
		 */
	} while (got < 0 && (errno == EINTR || errno == ECONNRESET));
	if (got < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? LMKD_NOTHING : LMKD_END;
	header = CMSG_FIRSTHDR(&message);
	/* A packet has a sender, also one of no bytes; the end has none. */
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS)
		return LMKD_END;
	memcpy(sender, CMSG_DATA(header), sizeof(*sender));
	*length = (size_t)got;
	return LMKD_PACKET;
}
