/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmk-services: what Android's init does for services, as far as something that stops and starts
 * lmkd can tell. For the virtual device, where pid 1 stays busybox's.
 */
#ifndef LMK_SERVICES_H
#define LMK_SERVICES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVICES_MAX   8
#define SERVICE_NAME   32
#define ARGUMENTS_MAX  16
#define COMMAND_BYTES  512
#define CONTROL_SOCKET "/run/services/control"

struct service {
	char name[SERVICE_NAME];
	/* Of its file. */
	char command[COMMAND_BYTES];
	char *arguments[ARGUMENTS_MAX + 1]; /* words of `command` */
	char socket[SERVICE_NAME];	    /* empty: none */
	mode_t socket_mode;
	uid_t socket_uid;
	gid_t socket_gid;
	bool critical; /* count when it ends by itself */
	bool disabled; /* not started with the others */
	bool gentle;   /* stopped with SIGTERM and no more, where init's way is SIGKILL */
	/* As it is. */
	pid_t pid; /* 0: does not run */
	int pidfd;
	bool stopping;		/* init was told to */
	bool start_again;	/* once it has ended */
	uint64_t started_ns;	/* CLOCK_BOOTTIME */
	uint64_t start_next_ns; /* 0: not waiting to be started again */
	unsigned int restarts;	/* by itself, of a critical one */
	uint64_t ended_ns[4];	/* the last times it did, for the four in four minutes */
};

/* file.c: reads DIR/NAME.service. 0, or -1 with a word on stderr. */
int service_read(struct service *service, const char *path, const char *name);

/* process.c. */
void service_start(struct service *service);
void service_stop(struct service *service);
/* Its pidfd says that it has ended. */
void service_ended(struct service *service);

/* property.c: NAME is set to a value, whole or not at all. */
void property_set(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A line in DIR/log, with the time on CLOCK_BOOTTIME in ns first. */
void log_event(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t boottime_ns(void);

#endif
