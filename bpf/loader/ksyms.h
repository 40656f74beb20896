/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per-CPU variables of the kernel that the handlers read. BTF describes them everywhere, but the
 * kernel finds their address in kallsyms, and without CONFIG_KALLSYMS_ALL they are not there: it
 * then refuses the program. libbpf resolves a weak ksym by BTF alone, so the name is taken away.
 */
#ifndef LMK_KSYMS_H
#define LMK_KSYMS_H

#include <stdbool.h>

struct bpf_object;

/*
 * Opens an object file; without `variables` the weak ksyms of per-CPU variables are absent. NULL
 * with errno on failure.
 */
struct bpf_object *open_handlers(const char *path, bool variables);

#endif
