// SPDX-License-Identifier: Apache-2.0
/* Single questions to the kernel; probe.c makes the report of them. */
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <zlib.h>

/* Where the kernel's files are looked for: "" but in tests. */
static const char *root = "";

void lmk_probe_root(const char *directory)
{
	root = directory;
}

static const char *rooted(const char *path)
{
	static char full[512];

	snprintf(full, sizeof(full), "%s%s", root, path);
	return full;
}

struct btf *lmk_probe_btf(int *error)
{
	struct btf *btf =
		*root ? btf__parse_raw(rooted("/sys/kernel/btf/vmlinux")) : btf__load_vmlinux_btf();

	*error = 0;
	if (!btf)
		*error = errno ? -errno : -ENOENT;
	return btf;
}

/*
 * Symbols that are asked for. /proc/kallsyms is a quarter of a million lines and formatting
 * them costs the kernel a second or more on a slow device: it is read once.
 */
static struct symbol {
	const char *name;
	bool named; /* listed, its address perhaps hidden */
	bool found;
} symbols[] = {
	{"nr_swap_pages", false, false},
	{"total_swap_pages", false, false},
	{"totalreserve_pages", false, false},
	{"node_data", false, false},
	{"contig_page_data", false, false},
	/* One that is listed with CONFIG_KALLSYMS_ALL only. */
	{"runqueues", false, false},
	/* In every kernel: kallsyms can be read. */
	{"vfs_read", false, false},
	/* Of a kernel that enforces CFI: kernel/cfi.c, 6.1 and later; before; x86's prefixes. */
	{"report_cfi_failure", false, false},
	{"__cfi_slowpath", false, false},
	{"__cfi_slowpath_diag", false, false},
	{"__cfi_vfs_read", false, false},
	/* Of one whose JIT gives BPF callbacks their type hash. */
	{"cfi_bpf_subprog_hash", false, false},
};

#define SYMBOLS (sizeof(symbols) / sizeof(symbols[0]))

static void read_kallsyms(void)
{
	char line[512], *name, *end;
	static bool done;
	bool hidden;
	FILE *file;

	if (done)
		return;
	done = true;
	file = fopen(rooted("/proc/kallsyms"), "re");
	if (!file)
		return;
	/* "ADDRESS TYPE NAME[\tMODULE]"; a hidden address is all zeros. */
	while (fgets(line, sizeof(line), file)) {
		hidden = line[strspn(line, "0")] == ' ';
		name = strchr(line, ' ');
		if (!name || !name[1] || name[2] != ' ')
			continue;
		name += 3;
		end = name + strcspn(name, "\t\n");
		*end = '\0';
		for (size_t i = 0; i < SYMBOLS; i++) {
			if (strcmp(name, symbols[i].name))
				continue;
			symbols[i].named = true;
			if (!hidden)
				symbols[i].found = true;
		}
	}
	fclose(file);
}

static const struct symbol *symbol_of(const char *name)
{
	static const struct symbol none;

	read_kallsyms();
	for (size_t i = 0; i < SYMBOLS; i++) {
		if (strcmp(name, symbols[i].name) == 0)
			return &symbols[i];
	}
	return &none;
}

static bool in_kallsyms(const char *name)
{
	return symbol_of(name)->found;
}

static bool is_named(const char *name)
{
	return symbol_of(name)->named;
}

/* enum bpf_func_id lists every helper the kernel was built with. */
static bool has_helper(const struct btf *btf, const char *name)
{
	__s32 id = btf__find_by_name_kind(btf, "bpf_func_id", BTF_KIND_ENUM);
	const struct btf_type *type;
	const struct btf_enum *value;
	char wanted[96];

	if (id < 0)
		return false;
	snprintf(wanted, sizeof(wanted), "BPF_FUNC_%s", name);
	type = btf__type_by_id(btf, (__u32)id);
	value = btf_enum(type);
	for (int i = 0; i < btf_vlen(type); i++) {
		if (strcmp(btf__name_by_offset(btf, value[i].name_off), wanted) == 0)
			return true;
	}
	return false;
}

bool lmk_probe_has(const struct btf *btf, enum lmk_fact_kind kind, const char *name)
{
	char typedef_name[96];

	if (kind == LMK_FACT_KSYM)
		return in_kallsyms(name);
	if (!btf)
		return false;
	switch (kind) {
	case LMK_FACT_KFUNC:
		return btf__find_by_name_kind(btf, name, BTF_KIND_FUNC) > 0;
	case LMK_FACT_HELPER:
		return has_helper(btf, name);
	case LMK_FACT_TRACEPOINT:
		snprintf(typedef_name, sizeof(typedef_name), "btf_trace_%s", name);
		return btf__find_by_name_kind(btf, typedef_name, BTF_KIND_TYPEDEF) > 0;
	case LMK_FACT_VARIABLE:
		return lmk_probe_variables() && btf__find_by_name_kind(btf, name, BTF_KIND_VAR) > 0;
	case LMK_FACT_STRUCT:
		return btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT) > 0;
	default:
		return false;
	}
}

/* One of "a|b|c" is enough. */
bool lmk_probe_has_any(const struct btf *btf, enum lmk_fact_kind kind, const char *names)
{
	char copy[160], *rest = copy, *name;

	snprintf(copy, sizeof(copy), "%s", names);
	while ((name = strsep(&rest, "|"))) {
		if (lmk_probe_has(btf, kind, name))
			return true;
	}
	return false;
}

bool lmk_read_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "re");
	bool ok;

	if (!file)
		return false;
	ok = fgets(line, size, file) != NULL;
	fclose(file);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

const char *lmk_probe_config_path(void)
{
	static char path[512];
	struct utsname kernel;

	snprintf(path, sizeof(path), "%s/proc/config.gz", root);
	if (!access(path, R_OK))
		return path;
	if (uname(&kernel) != 0)
		return NULL;
	snprintf(path, sizeof(path), "%s/boot/config-%s", root, kernel.release);
	return access(path, R_OK) ? NULL : path;
}

/* 1 set, 0 not set, -1 the kernel does not show its configuration. */
int lmk_probe_config(const char *option)
{
	size_t length = strlen(option);
	char line[256];
	int found = 0;
	const char *path = lmk_probe_config_path();
	gzFile file = path ? gzopen(path, "rbe") : NULL; /* reads plain text too */

	if (!file)
		return -1;
	while (!found && gzgets(file, line, sizeof(line)))
		found = strncmp(line, option, length) == 0 && line[length] == '=' &&
			line[length + 1] != 'n';
	gzclose(file);
	return found;
}

bool lmk_probe_variables(void)
{
	int all = lmk_probe_config("CONFIG_KALLSYMS_ALL");

	return all < 0 ? is_named("runqueues") : all == 1;
}

/* CONFIG_CFI since 6.18, CONFIG_CFI_CLANG before. 1, 0, or -1: nothing says. */
static int cfi_is_enforced(const char **source)
{
	*source = lmk_probe_config_path();
	if (*source)
		return lmk_probe_config("CONFIG_CFI") == 1 ||
		       lmk_probe_config("CONFIG_CFI_CLANG") == 1;
	/* Its own symbols only where no configuration tells: reading them all is slow. */
	*source = "/proc/kallsyms";
	if (!is_named("vfs_read"))
		return -1;
	return is_named("report_cfi_failure") || is_named("__cfi_slowpath") ||
	       is_named("__cfi_slowpath_diag") || is_named("__cfi_vfs_read");
}

bool lmk_probe_cfi(void)
{
	const char *source;

	return cfi_is_enforced(&source) != 0;
}

bool lmk_probe_callbacks(char *words, size_t size)
{
	const char *source;
	int enforced = cfi_is_enforced(&source);

	if (!enforced)
		snprintf(words, size, "no CFI (%s)", source);
	else if (is_named("cfi_bpf_subprog_hash"))
		snprintf(words, size,
			 "CFI, and the JIT emits kCFI (/proc/kallsyms: cfi_bpf_subprog_hash)");
	else if (enforced > 0)
		snprintf(words, size,
			 "CFI (%s), and no sign that the JIT emits kCFI (/proc/kallsyms: "
			 "cfi_bpf_subprog_hash)",
			 source);
	else
		snprintf(words, size,
			 "neither configuration nor /proc/kallsyms says whether there is CFI");
	return !enforced || is_named("cfi_bpf_subprog_hash");
}

bool lmk_probe_capable(int capability)
{
	char line[256];
	unsigned long long effective = 0;
	FILE *file = fopen("/proc/self/status", "re");

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	}
	fclose(file);
	return effective >> capability & 1;
}

/* Can a BPF program be loaded at all: privilege, lockdown, seccomp and LSM in one question. */
int lmk_probe_load(void)
{
	int error = libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_TRACEPOINT, NULL);

	if (error < 0)
		return error;
	return error == 1 ? 0 : -EPERM;
}
