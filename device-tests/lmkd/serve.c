// SPDX-License-Identifier: Apache-2.0
/*
 * The agent's server of lmkd's socket on a loop of its own: for tests, which kill nobody.
 *
 *     serve PATH | serve --fd N
 *
 * On stdin: "killed PID UID RSS_KB ADJ START_NS NAME" (of long ago after "stale"),
 * "short" (PROCKILL without rss_kb),
 * "booted", "props OK" (0 or 1), "age PID" (its record becomes that of an earlier process),
 * "counters", "record PID". Events: "start", "update_props", "monitoring", "counters", "record".
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "event_source.h"
#include "lmkd_server.h"
#include "lmkd_socket.h"
#include "workload/lines.h"

#define SOURCE_STDIN 99

static struct lmkd_server server;
static struct lmkd_missed missed;
static bool booted, stale;
static int props_result;

static int update_props(void *context)
{
	(void)context;
	say("{\"event\":\"update_props\"}");
	return props_result;
}

static void start_monitoring(void *context)
{
	(void)context;
	say("{\"event\":\"monitoring\"}");
}

static bool boot_completed(void *context)
{
	(void)context;
	return booted;
}

static long long number(char **rest)
{
	char *word = strtok_r(NULL, " ", rest);

	return word ? strtoll(word, NULL, 10) : 0;
}

static void tell_kill(char **rest)
{
	struct lmkd_killed killed = {.reason = LMKD_NO_REASON,
				     .signalled_ns = stale ? 1 : boottime_ns()};

	killed.pid = (__s32)number(rest);
	killed.uid = (__u32)number(rest);
	killed.rss_kb = (__s32)number(rest);
	killed.adj = (__s32)number(rest);
	killed.start_time_ns = number(rest);
	killed.name = strtok_r(NULL, " ", rest);
	if (killed.name)
		lmkd_server_killed(&server, &killed);
}

static void say_counters(void)
{
	char refused[LMKD_REFUSALS * 24], *end = refused;

	for (int i = 0; i < LMKD_REFUSALS; i++)
		end += sprintf(end, "%s%llu", i ? "," : "", server.counters.refused[i]);
	say("{\"event\":\"counters\",\"packets\":%llu,\"clients_refused\":%llu,\"unsent\":%llu,"
	    "\"clients_deaf\":%llu,\"told\":%llu,\"told_later\":%llu,\"dropped\":%llu,"
	    "\"records\":%u,\"targets\":%u,\"refused\":[%s]}",
	    server.counters.packets, server.counters.clients_refused, server.counters.unsent,
	    server.counters.clients_deaf, server.counters.told, server.counters.told_later,
	    missed.dropped, server.registry.count, server.targets_count, refused);
}

static void say_record(__s32 pid)
{
	const struct lmkd_record *record = lmkd_find(&server.registry, pid);

	if (record)
		say("{\"event\":\"record\",\"pid\":%d,\"uid\":%u,\"adj\":%d,\"owner\":%d}", pid,
		    record->uid, record->adj, record->owner);
	else
		say("{\"event\":\"record\",\"pid\":0}");
}

static void age(__s32 pid)
{
	struct lmkd_record *record = lmkd_find(&server.registry, pid);

	if (record)
		record->start_ticks--;
}

static void take_line(char *line)
{
	char *rest = NULL, *word = strtok_r(line, " ", &rest);

	if (!word)
		return;
	if (!strcmp(word, "killed"))
		tell_kill(&rest);
	else if (!strcmp(word, "stale"))
		stale = true;
	else if (!strcmp(word, "short"))
		server.short_killed = true;
	else if (!strcmp(word, "booted"))
		booted = true;
	else if (!strcmp(word, "props"))
		props_result = number(&rest) ? 0 : -EINVAL;
	else if (!strcmp(word, "age"))
		age((__s32)number(&rest));
	else if (!strcmp(word, "counters"))
		say_counters();
	else if (!strcmp(word, "record"))
		say_record((__s32)number(&rest));
}

int main(int argc, char **argv)
{
	const struct lmkd_hooks hooks = {
		.update_props = update_props,
		.start_monitoring = start_monitoring,
		.boot_completed = boot_completed,
	};
	struct epoll_event input = {.events = EPOLLIN, .data.u64 = (__u64)SOURCE_STDIN << 32};
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), listener, error;
	struct epoll_event events[16];

	lmkd_server_begin(&server, &missed);
	listener = argc == 3 ? atoi(argv[2]) : argc == 2 ? lmkd_listen(argv[1]) : -EINVAL;
	error = listener < 0 ? listener : lmkd_server_open(&server, epoll_fd, listener, &hooks);
	if (error) {
		say_error(error, "cannot serve");
		return 1;
	}
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &input);
	say("{\"event\":\"start\"}");
	for (;;) {
		int count = epoll_wait(epoll_fd, events, 16, -1);

		for (int i = 0; i < count; i++) {
			switch (events[i].data.u64 >> 32) {
			case SOURCE_LMKD_LISTENER:
				lmkd_server_accept(&server);
				break;
			case SOURCE_LMKD_CLIENT:
				lmkd_server_event(&server, (__u32)events[i].data.u64);
				break;
			default:
				if (read_lines(take_line) <= 0) {
					lmkd_server_close(&server);
					return 0;
				}
			}
		}
	}
}
