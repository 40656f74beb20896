// SPDX-License-Identifier: Apache-2.0
// Any process that comes to lmkd's socket, says its piece and hears what there is to hear.
//
//     lmkd_caller UID early|late PACKET...      as UID from the beginning, or once it is connected
//
// A packet is its words in hex, joined by commas. What comes is printed, in hex, a line each; or
// `refused: WHY` where it may not even connect.
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define WORDS_MAX 64

static void become(const char *uid)
{
	unsigned int id = (unsigned int)atoi(uid);

	if (setgid(id) || setuid(id))
		exit(3);
}

static int send_words(int fd, char *text)
{
	uint32_t words[WORDS_MAX];
	size_t count = 0;

	for (char *word, *rest = text; count < WORDS_MAX && (word = strtok_r(rest, ",", &rest));)
		words[count++] = htonl((uint32_t)strtoul(word, NULL, 16));
	return send(fd, words, count * sizeof(*words), MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int main(int count, char **words)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/socket/lmkd"};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	uint8_t bytes[256];
	ssize_t got;

	if (count < 3)
		return 2;
	if (!strcmp(words[2], "early"))
		become(words[1]);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		printf("refused: %s\n", strerror(errno));
		return 0;
	}
	if (!strcmp(words[2], "late"))
		become(words[1]);
	for (int i = 3; i < count; i++)
		if (send_words(fd, words[i]))
			return 4;
	/* The other side hangs up when it has taken all of it. */
	shutdown(fd, SHUT_WR);
	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			printf("%02x", bytes[i]);
		putchar('\n');
	}
	return 0;
}
