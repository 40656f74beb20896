/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lmk-services: what Android's init does for services, as far as something that stops and starts
 * lmkd, or is started in its place, can tell. For the virtual device, where pid 1 stays busybox's.
 *
 * It reads the part of Android's init language that rc.c lists; the rest is said in its log.
 */
#ifndef LMK_SERVICES_H
#define LMK_SERVICES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVICES_MAX   8
#define ACTIONS_MAX    32
#define CONDITIONS_MAX 4
#define COMMANDS_MAX   8
#define SERVICE_NAME   32
#define PROPERTY_NAME  96
#define PROPERTY_VALUE 96
#define WORDS_MAX      32
#define LINE_BYTES     1024
#define GROUPS_MAX     8
#define FOLDER	       "/run/services"
#define CONTROL_SOCKET FOLDER "/control"
#define PROPERTIES     "/run/properties"

/* A line; it may not be copied, since its words lie in it. */
struct words {
	char text[LINE_BYTES];
	char *word[WORDS_MAX + 1]; /* the last one is followed by NULL */
	int count;
};

/* Whom a process becomes. */
struct identity {
	uid_t uid;
	gid_t groups[GROUPS_MAX]; /* the first is its gid */
	unsigned int groups_count;
};

struct service {
	char name[SERVICE_NAME];
	/* Of its section. */
	struct words command;
	struct identity identity;
	int oom_score_adj;
	char socket[SERVICE_NAME]; /* empty: none */
	mode_t socket_mode;
	uid_t socket_uid;
	gid_t socket_gid;
	bool critical;	    /* count when it ends by itself */
	bool disabled;	    /* not started with the others */
	bool oneshot;	    /* not started again when it ends */
	bool stdio_to_kmsg; /* what it says goes to the kernel's log, else nowhere */
	bool gentle; /* stopped with SIGTERM to it alone, where init's way is SIGKILL to all */
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

struct condition {
	char name[PROPERTY_NAME];
	char value[PROPERTY_VALUE]; /* "*": any */
};

struct action {
	char event[SERVICE_NAME]; /* empty: properties alone */
	struct condition conditions[CONDITIONS_MAX];
	unsigned int conditions_count;
	struct words commands[COMMANDS_MAX];
	unsigned int commands_count;
};

/* rc.c: what all files read so far say. */
extern struct service services[SERVICES_MAX];
extern unsigned int services_count;
extern struct action actions[ACTIONS_MAX];
extern unsigned int actions_count;

/* FOLDER/NAME.rc, each; what is not understood is said in the log, and left out. 0, or -errno. */
int rc_read_folder(const char *folder);
struct service *service_find(const char *name);
/* NAME, or a number, in a file as /etc/passwd; -1: there is none. */
long id_of(const char *file, const char *name);

/* action.c. */
bool command_is_known(const struct words *command);
/* "boot": what waits for it is done, with all that this sets off. */
void event_happened(const char *event);
/* From now on actions that wait for properties alone count; those whose conditions hold are done.
 */
void properties_count_now(void);
void property_changed(const char *name);
/* All that property changes have set off. */
void actions_do(void);

/* process.c. */
void service_start(struct service *service);
void service_stop(struct service *service);
/* Its pidfd says that it has ended. */
void service_ended(struct service *service);
/* A process that nobody waits for. */
void run_in_background(char *const *command, const struct identity *identity);

/* property.c: NAME is set to a value, whole or not at all. */
void property_set(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Empty when there is none. */
void property_get(const char *name, char value[PROPERTY_VALUE]);
/* An inotify fd on what anybody sets; -1: cannot. */
int properties_watch(void);
void properties_read(int watch);

/* A line in FOLDER/log, with the time on CLOCK_BOOTTIME in ns first. */
void log_event(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t boottime_ns(void);

#endif
