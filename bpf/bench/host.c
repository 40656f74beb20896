// SPDX-License-Identifier: Apache-2.0
#include "host.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "identity.h"
#include "lines.h"

#define TICK_MS 200

static uint64_t heard_ns, lease_ns;
static void (*take_other)(char *line);
static int gone;

static void take_line(char *line)
{
	if (!strcmp(line, "quit"))
		gone = 1;
	else if (*line && take_other)
		take_other(line);
}

void host_begin(int64_t lease_s, void (*take)(char *line))
{
	heard_ns = boottime_ns();
	lease_ns = (uint64_t)lease_s * 1000000000u;
	take_other = take;
}

int host_lives(int timeout_ms)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};

	if (!gone && poll(&in, 1, timeout_ms < 0 ? TICK_MS : timeout_ms) > 0) {
		heard_ns = boottime_ns();
		if (!(in.revents & POLLIN) || read_lines(take_line) <= 0)
			gone = 1;
	}
	if (lease_ns && boottime_ns() - heard_ns >= lease_ns)
		gone = 1;
	return !gone;
}
