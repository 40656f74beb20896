// SPDX-License-Identifier: Apache-2.0
#include "session_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lmk/abi.h"
#include "process.h"

const char *kill_path_name(__u32 kill_path)
{
	switch (kill_path) {
	case LMK_PATH_ASSISTED:
		return "assisted";
	case LMK_PATH_IN_KERNEL:
		return "in_kernel";
	case LMK_PATH_OOM_OPS:
		return "oom_ops";
	default:
		return "none";
	}
}

const char *carrier_name(__u32 carrier)
{
	switch (carrier) {
	case LMK_CARRIER_SYSCALL:
		return "syscall";
	case LMK_CARRIER_RECLAIM:
		return "reclaim";
	case LMK_CARRIER_WORKQUEUE:
		return "workqueue";
	case LMK_CARRIER_TIMER:
		return "timer";
	case LMK_CARRIER_TASK_WORK:
		return "task_work";
	default:
		return "none";
	}
}

int read_boot_id(char boot_id[40])
{
	ssize_t length = read_small_file("/proc/sys/kernel/random/boot_id", boot_id, 40);

	if (length < 0)
		return (int)length;
	boot_id[strcspn(boot_id, "\n")] = 0;
	return 0;
}

/* Where this program lies; after an update, where the newer one does. */
static void find_program(char *path, size_t size)
{
	static const char gone[] = " (deleted)"; /* the kernel's word, d_path() */
	ssize_t length = readlink("/proc/self/exe", path, size - 1);
	size_t kept = length < 0 ? 0 : (size_t)length;

	path[kept] = 0;
	if (kept < sizeof(gone) || strcmp(path + kept - (sizeof(gone) - 1), gone) ||
	    !access(path, F_OK))
		return;
	kept -= sizeof(gone) - 1;
	path[kept] = 0;
	if (access(path, X_OK))
		path[kept] = gone[0];
}

int session_write(const char *dir, const struct session *session)
{
	char path[160], text[1024], token[2 * TOKEN_BYTES + 1];
	char program[160];
	int length;

	find_program(program, sizeof(program));
	for (int i = 0; i < TOKEN_BYTES; i++)
		snprintf(token + 2 * i, 3, "%02x", session->token[i]);
	length = snprintf(text, sizeof(text),
			  "record_socket=%s\ncontrol_socket=%s\ntoken=%s\nbuild_id=%s\nboot_id=%s\n"
			  "run=%u\nagent_pid=%d\nagent_start_ticks=%llu\nguardian_pid=%d\n"
			  "guardian_start_ticks=%llu\nagent_restarts=%u\nkill_path=%s\n"
			  "holder=%s\nlmkd=%s\nother_killer=%s\nprogram=%s\n",
			  session->record_socket, session->control_socket, token, session->build_id,
			  session->boot_id, session->run, session->agent_pid,
			  session->agent_start_ticks, session->guardian_pid,
			  session->guardian_start_ticks, session->agent_restarts,
			  kill_path_name(session->kill_path), session->holder,
			  session->replacing ? "replaced" : "kept",
			  session->other_killer ? session->other_killer : "none", program);
	snprintf(path, sizeof(path), "%s/session", dir);
	return replace_file(path, text, (size_t)length);
}

static __u32 kill_path_of(const char *name)
{
	__u32 path = LMK_PATH_OOM_OPS;

	while (path && strcmp(name, kill_path_name(path)))
		path--;
	return path;
}

static void take_field(struct session *session, const char *key, const char *value)
{
	if (!strcmp(key, "record_socket"))
		snprintf(session->record_socket, SOCKET_NAME, "%s", value);
	else if (!strcmp(key, "control_socket"))
		snprintf(session->control_socket, SOCKET_NAME, "%s", value);
	else if (!strcmp(key, "build_id"))
		snprintf(session->build_id, sizeof(session->build_id), "%s", value);
	else if (!strcmp(key, "boot_id"))
		snprintf(session->boot_id, sizeof(session->boot_id), "%s", value);
	else if (!strcmp(key, "holder"))
		snprintf(session->holder, sizeof(session->holder), "%s", value);
	else if (!strcmp(key, "run"))
		session->run = (__u32)strtoul(value, NULL, 10);
	else if (!strcmp(key, "agent_pid"))
		session->agent_pid = (__s32)strtol(value, NULL, 10);
	else if (!strcmp(key, "agent_start_ticks"))
		session->agent_start_ticks = strtoull(value, NULL, 10);
	else if (!strcmp(key, "guardian_pid"))
		session->guardian_pid = (__s32)strtol(value, NULL, 10);
	else if (!strcmp(key, "guardian_start_ticks"))
		session->guardian_start_ticks = strtoull(value, NULL, 10);
	else if (!strcmp(key, "kill_path"))
		session->kill_path = kill_path_of(value);
	else if (!strcmp(key, "agent_restarts"))
		session->agent_restarts = (__u32)strtoul(value, NULL, 10);
	else if (!strcmp(key, "token") && strlen(value) == 2 * TOKEN_BYTES)
		for (int i = 0; i < TOKEN_BYTES; i++) {
			char pair[3] = {value[2 * i], value[2 * i + 1], 0};

			session->token[i] = (__u8)strtoul(pair, NULL, 16);
		}
}

int session_read(const char *dir, struct session *session)
{
	char path[160], text[1024], *line, *rest = text;
	ssize_t length;

	memset(session, 0, sizeof(*session));
	snprintf(path, sizeof(path), "%s/session", dir);
	length = read_small_file(path, text, sizeof(text));
	if (length < 0)
		return (int)length;
	while ((line = strsep(&rest, "\n"))) {
		char *value = strchr(line, '=');

		if (!value)
			continue;
		*value++ = 0;
		take_field(session, line, value);
	}
	return session->control_socket[0] ? 0 : -EPROTO;
}

void session_remove(const char *dir)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/session", dir);
	if (unlink(path) && errno != ENOENT)
		fprintf(stderr, "lmk-agent: %s not removed: %s\n", path, strerror(errno));
}
