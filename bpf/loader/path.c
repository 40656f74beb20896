// SPDX-License-Identifier: Apache-2.0
/* Which kill path: in_kernel where the kernel can signal from BPF, else assisted. */
#include <stdio.h>
#include <string.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "json.h"
#include "probe.h"

static const char *const names[] = {
	[LMK_PATH_NONE] = "none",
	[LMK_PATH_ASSISTED] = "assisted",
	[LMK_PATH_IN_KERNEL] = "in_kernel",
};

const char *lmk_path_name(enum lmk_kill_path path)
{
	return names[path <= LMK_PATH_IN_KERNEL ? path : LMK_PATH_NONE];
}

enum lmk_kill_path lmk_path_named(const char *name)
{
	for (int path = LMK_PATH_ASSISTED; path <= LMK_PATH_IN_KERNEL; path++) {
		if (!strcmp(name, names[path]))
			return (enum lmk_kill_path)path;
	}
	return LMK_PATH_NONE;
}

struct lmk_path_choice lmk_choose_path(const struct btf *btf, enum lmk_kill_path wanted)
{
	struct lmk_path_choice choice = {.path = LMK_PATH_NONE};
	char lacks[224], callbacks[192];

	choice.callbacks = lmk_probe_callbacks(callbacks, sizeof(callbacks));
	if (!btf) {
		snprintf(choice.why, sizeof(choice.why), "the kernel has no BTF");
		return choice;
	}
	if (lmk_probe_lacks(btf, LMK_PATH_ASSISTED, lacks, sizeof(lacks))) {
		snprintf(choice.why, sizeof(choice.why), "%s", lacks);
		return choice;
	}
	if (wanted == LMK_PATH_ASSISTED) {
		choice.path = LMK_PATH_ASSISTED;
		snprintf(choice.why, sizeof(choice.why), "asked for");
		return choice;
	}
	if (lmk_probe_lacks(btf, LMK_PATH_IN_KERNEL, lacks, sizeof(lacks))) {
		choice.path = wanted == LMK_PATH_NONE ? LMK_PATH_ASSISTED : LMK_PATH_NONE;
		snprintf(choice.why, sizeof(choice.why), "no signal from BPF: %s", lacks);
		return choice;
	}
	choice.path = LMK_PATH_IN_KERNEL;
	snprintf(choice.why, sizeof(choice.why), "the kernel signals from BPF; timer in %s: %s",
		 choice.callbacks ? "BPF" : "the agent", callbacks);
	return choice;
}

int lmk_path_main(void)
{
	struct lmk_path_choice choice;
	struct btf *btf;
	int error;

	libbpf_set_print(NULL);
	btf = lmk_probe_btf(&error);
	choice = lmk_choose_path(btf, LMK_PATH_NONE);
	json_open(NULL, '{');
	json_string("kill_path", lmk_path_name(choice.path));
	json_bool("callbacks", choice.callbacks);
	json_string("why", choice.why);
	json_close('}');
	json_end();
	btf__free(btf);
	return 0;
}
