/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry of Android's log, as its log daemon takes it: a datagram of a packed header and a
 * payload, little-endian (AOSP system/logging/liblog, log_event_list.h). No allocation.
 */
#ifndef LMK_AGENT_ANDROID_LOG_H
#define LMK_AGENT_ANDROID_LOG_H

#include <linux/types.h>
#include <stddef.h>

#define ANDROID_LOG_SOCKET "/dev/socket/logdw"
#define ANDROID_LOG_BYTES  1024

enum android_log_priority {
	ANDROID_LOG_DEBUG = 3,
	ANDROID_LOG_INFO = 4,
	ANDROID_LOG_ERROR = 6,
};

struct android_log {
	__u8 bytes[ANDROID_LOG_BYTES];
	size_t length;
	size_t count_at; /* of an event: where the number of its values stands */
};

/* A line of the main buffer; one that is too long is cut. */
void android_log_text(struct android_log *log, enum android_log_priority priority, const char *tag,
		      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* An event of the events buffer: its values, up to 255, are added one after another. */
void android_log_event(struct android_log *log, __u32 tag);
void android_log_add_int(struct android_log *log, __s32 value);
void android_log_add_float(struct android_log *log, float value);

/*
 * To the daemon at `path`. It is not waited for, as in liblog. 0 or -errno: -ENOENT and
 * -ECONNREFUSED where there is no log daemon, -EAGAIN when it does not keep up.
 */
int android_log_send(const struct android_log *log, const char *path);

#endif
