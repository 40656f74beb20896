/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this kernel can do, asked of its BTF, files and the bpf(2) call, never of its version.
 */
#ifndef LMK_PROBE_H
#define LMK_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#include "lmk/abi.h"

struct btf;

enum lmk_fact_kind {
	LMK_FACT_KFUNC,
	LMK_FACT_HELPER,
	LMK_FACT_TRACEPOINT,
	LMK_FACT_VARIABLE, /* a variable that BTF describes and kallsyms has, hidden or not */
	LMK_FACT_KSYM,	   /* a symbol only /proc/kallsyms knows */
	LMK_FACT_STRUCT,
	LMK_FACT_MAX,
};

/* Has the kernel's files (BTF, configuration, kallsyms) looked for below `directory`: for tests. */
void lmk_probe_root(const char *directory);

/* The vmlinux BTF, or NULL; `*error` is then a negative errno. The caller frees it. */
struct btf *lmk_probe_btf(int *error);

/* Does the kernel have `name` of `kind`? */
bool lmk_probe_has(const struct btf *btf, enum lmk_fact_kind kind, const char *name);

/* The same for "a|b|c": one of them is enough. */
bool lmk_probe_has_any(const struct btf *btf, enum lmk_fact_kind kind, const char *names);

/* The kernel's own copy of its configuration, else the distribution's. NULL: neither is there. */
const char *lmk_probe_config_path(void);

/* 1 set, 0 not set, -1 the kernel does not show its configuration. */
int lmk_probe_config(const char *option);

/* Number of a capability (linux/capability.h) in the effective set. */
bool lmk_probe_capable(int capability);

/* Has the kernel an address for its variables (CONFIG_KALLSYMS_ALL)? */
bool lmk_probe_variables(void);

/* Can a BPF program be loaded at all (privilege, lockdown, seccomp, LSM)? 0 or a negative errno. */
int lmk_probe_load(void);

/* First line of a file, without its newline. */
bool lmk_read_line(const char *path, char *line, int size);

/* Kernel enforces CFI, by its configuration or its own symbols; also where neither says. */
bool lmk_probe_cfi(void);

/*
 * May the kernel call back into BPF (timer, work queue, task work)? With CFI and a JIT that gives
 * callbacks no type hash it panics, so this is never tried. `words` says why, for people.
 */
bool lmk_probe_callbacks(char *words, size_t size);

/*
 * The first thing without which there is no kill path `path` (in_kernel or assisted), as a line for
 * people in `words`: what, which probe said so, what would enable it. False: nothing is missing.
 */
bool lmk_probe_lacks(const struct btf *btf, enum lmk_kill_path path, char *words, size_t size);

/* What was chosen, and why. */
struct lmk_path_choice {
	enum lmk_kill_path path; /* LMK_PATH_NONE: there is none */
	bool callbacks;		 /* timer, work queue and task work may be armed */
	char why[320];		 /* for people, one line */
};

/*
 * The best kill path that the kernel supports. `wanted`: that one or none; LMK_PATH_NONE: any.
 */
struct lmk_path_choice lmk_choose_path(const struct btf *btf, enum lmk_kill_path wanted);

/* `lmk-loader path`: the choice alone, as one JSON object. Returns the exit code. */
int lmk_path_main(void);

/* "in_kernel", "assisted", "none". */
const char *lmk_path_name(enum lmk_kill_path path);
/* The other way round; LMK_PATH_NONE for any other name. */
enum lmk_kill_path lmk_path_named(const char *name);

/* `lmk-loader probe`: one JSON object on stdout. Returns the exit code. */
int lmk_probe_main(void);

#endif
