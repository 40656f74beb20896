/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands that begin and end a session. */
#ifndef LMK_AGENT_START_H
#define LMK_AGENT_START_H

#include <linux/types.h>
#include <stdbool.h>

struct start_options {
	const char *dir;
	const char *object;
	const char *assisted;
	const char *loader;
	const char *policy;
	const char *build_id;
	const char *device_name;
	const char *holder;	 /* who attaches, for others to be told */
	const char *lmkd_socket; /* NULL: not served */
	bool lmkd_short_killed;
	__u64 lease_ms; /* 0: none */
	__u32 spool_limit_kb;
	bool with_handlers;
	bool replace_lmkd;
	bool patient; /* with a session that is just ending */
};

/* Prints one line of JSON and returns an exit code, or fail()s. */
int start_main(const struct start_options *options);

enum stop_what {
	STOP_SESSION,
	STOP_LEFTOVERS,		  /* a session that lives is let alone */
	STOP_LEFTOVERS_PATIENTLY, /* the same, and lmkd is waited for until it answers */
};

/* Prints one line of JSON and returns an exit code, or fail()s. */
int stop_main(const char *dir, enum stop_what what);

/*
 * Waits for a `stop` that is at work in DIR: it asks whoever has come meanwhile to go, and a new
 * session is not meant. Closed, it holds up no other. fail()s.
 */
int stop_wait(const char *dir);

/* Makes DIR, or checks it: a directory of root's that nobody else may write. fail()s. */
void prepare_dir(const char *dir);

#endif
