/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this kernel can do, asked of its BTF, files and the bpf(2) call, never of its version.
 */
#ifndef LMK_PROBE_H
#define LMK_PROBE_H

#include <stdbool.h>
#include <stddef.h>

struct btf;

enum lmk_fact_kind {
	LMK_FACT_KFUNC,
	LMK_FACT_HELPER,
	LMK_FACT_TRACEPOINT,
	LMK_FACT_VARIABLE, /* a variable BTF describes: readable even with kptr_restrict=2 */
	LMK_FACT_KSYM,	   /* a symbol only /proc/kallsyms knows */
	LMK_FACT_STRUCT,
	LMK_FACT_MAX,
};

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

/* Can a BPF program be loaded at all (privilege, lockdown, seccomp, LSM)? 0 or a negative errno. */
int lmk_probe_load(void);

/* First line of a file, without its newline. */
bool lmk_read_line(const char *path, char *line, int size);

/* Kernel enforces CFI (config, or its own symbols): BPF callbacks may panic it. */
bool lmk_probe_cfi(void);

/*
 * The first thing without which there is no in_kernel path, as a line for people in `words`: what,
 * which probe said so, what would enable it. False: nothing is missing.
 */
bool lmk_probe_lacks(const struct btf *btf, char *words, size_t size);

/* `lmk-loader probe`: one JSON object on stdout. Returns the exit code. */
int lmk_probe_main(void);

#endif
