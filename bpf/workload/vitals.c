// SPDX-License-Identifier: Apache-2.0
#include "vitals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lines.h"

/* /proc/vmstat is the longest: 6 KB on 7.3. */
#define TEXT_MAX_LEN 16384

struct source {
	const char *path;
	int fd; /* 0: not opened yet */
};

static struct source meminfo = {.path = "/proc/meminfo"};
static struct source vmstat = {.path = "/proc/vmstat"};
static struct source pressure = {.path = "/proc/pressure/memory"};
static char text[TEXT_MAX_LEN];

/* Its whole text, into `text`; 0 or -errno. It stays open: a starving device opens slowly. */
static int load(struct source *source)
{
	size_t used = 0;
	ssize_t length;

	if (!source->fd)
		source->fd = open(source->path, O_RDONLY | O_CLOEXEC);
	if (source->fd < 0) {
		source->fd = 0;
		return -errno;
	}
	while (used < sizeof(text) - 1) {
		length = pread(source->fd, text + used, sizeof(text) - 1 - used, (off_t)used);
		if (length < 0)
			return -errno;
		if (!length)
			break;
		used += (size_t)length;
	}
	text[used] = '\0';
	return 0;
}

/* The number after `key`, which begins a line of `text` that begins with `line`. */
static int number(const char *line, const char *key, unsigned long long *value)
{
	const char *at = text;
	const char *end;

	while (at && strncmp(at, line, strlen(line))) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return -EPROTO;
	end = strchr(at, '\n');
	at = strstr(at, key);
	if (!at || (end && at > end))
		return -EPROTO;
	*value = strtoull(at + strlen(key), NULL, 10);
	return 0;
}

int say_vitals(uint64_t time_ns)
{
	unsigned long long free_kb, available_kb, swap_free_kb, oom_kills, some_us, full_us;
	char stall[96] = "";
	int error;

	error = load(&meminfo);
	if (error)
		return error;
	if (number("MemFree:", ":", &free_kb) || number("MemAvailable:", ":", &available_kb) ||
	    number("SwapFree:", ":", &swap_free_kb))
		return -EPROTO;
	error = load(&vmstat);
	if (error)
		return error;
	if (number("oom_kill ", " ", &oom_kills))
		return -EPROTO;
	if (!load(&pressure) && !number("some ", "total=", &some_us) &&
	    !number("full ", "total=", &full_us))
		snprintf(stall, sizeof(stall), ",\"some_us\":%llu,\"full_us\":%llu", some_us,
			 full_us);
	say("{\"event\":\"vitals\",\"time_ns\":%llu,\"free_kb\":%llu,\"available_kb\":%llu,"
	    "\"swap_free_kb\":%llu,\"oom_kills\":%llu%s}",
	    (unsigned long long)time_ns, free_kb, available_kb, swap_free_kb, oom_kills, stall);
	return 0;
}
