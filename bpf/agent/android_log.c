// SPDX-License-Identifier: Apache-2.0
#include "android_log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

enum log_buffer {
	LOG_ID_MAIN = 0,
	LOG_ID_EVENTS = 2,
};

/* What stands before each value of an event. */
enum event_type {
	EVENT_TYPE_INT = 0,
	EVENT_TYPE_LIST = 3,
	EVENT_TYPE_FLOAT = 4,
};

static void add(struct android_log *log, const void *bytes, size_t length)
{
	if (length > sizeof(log->bytes) - log->length)
		return; /* 255 values of an event come to more: only then */
	memcpy(log->bytes + log->length, bytes, length);
	log->length += length;
}

static void add_u8(struct android_log *log, __u8 value)
{
	add(log, &value, sizeof(value));
}

static void add_le32(struct android_log *log, __u32 value)
{
	__u8 bytes[4] = {(__u8)value, (__u8)(value >> 8), (__u8)(value >> 16), (__u8)(value >> 24)};

	add(log, bytes, sizeof(bytes));
}

/* The daemon has pid and uid from the kernel; thread and time it takes from here. */
static void begin(struct android_log *log, enum log_buffer buffer)
{
	__u64 now_ns = realtime_ns();
	__u32 tid = (__u32)gettid();

	log->length = 0;
	log->count_at = 0;
	add_u8(log, (__u8)buffer);
	add_u8(log, (__u8)tid);
	add_u8(log, (__u8)(tid >> 8));
	add_le32(log, (__u32)(now_ns / NSEC_PER_SEC));
	add_le32(log, (__u32)(now_ns % NSEC_PER_SEC));
}

void android_log_text(struct android_log *log, enum android_log_priority priority, const char *tag,
		      const char *format, ...)
{
	char text[ANDROID_LOG_BYTES / 2];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	begin(log, LOG_ID_MAIN);
	add_u8(log, (__u8)priority);
	add(log, tag, strlen(tag) + 1);
	add(log, text, strlen(text) + 1);
}

void android_log_event(struct android_log *log, __u32 tag)
{
	begin(log, LOG_ID_EVENTS);
	add_le32(log, tag);
	add_u8(log, EVENT_TYPE_LIST);
	log->count_at = log->length;
	add_u8(log, 0);
}

static void add_value(struct android_log *log, enum event_type type, __u32 value)
{
	if (sizeof(log->bytes) - log->length < 1 + sizeof(value) ||
	    log->bytes[log->count_at] == 255)
		return;
	add_u8(log, (__u8)type);
	add_le32(log, value);
	log->bytes[log->count_at]++;
}

void android_log_add_int(struct android_log *log, __s32 value)
{
	add_value(log, EVENT_TYPE_INT, (__u32)value);
}

void android_log_add_float(struct android_log *log, float value)
{
	__u32 bits;

	memcpy(&bits, &value, sizeof(bits));
	add_value(log, EVENT_TYPE_FLOAT, bits);
}

int android_log_send(const struct android_log *log, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), error = 0;

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (sendto(fd, log->bytes, log->length, MSG_DONTWAIT | MSG_NOSIGNAL,
		   (struct sockaddr *)&address, sizeof(address)) < 0)
		error = -errno;
	close(fd);
	return error;
}
