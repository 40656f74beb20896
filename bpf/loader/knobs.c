// SPDX-License-Identifier: Apache-2.0
#include "knobs.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "probe.h"

/* Highest number in a list such as "0-1,4"; 0 when the file is not there (no NUMA). */
static __u32 last_of_list(const char *path)
{
	char text[128] = "";
	FILE *file = fopen(path, "re");
	__u32 last = 0;

	if (!file)
		return 0;
	if (fgets(text, sizeof(text), file)) {
		for (char *place = text; *place; place++) {
			if (*place >= '0' && *place <= '9')
				last = (__u32)strtoul(place, &place, 10);
			if (!*place)
				break;
		}
	}
	fclose(file);
	return last;
}

static bool psi_is_on(void)
{
	char line[128];
	FILE *file = fopen("/proc/pressure/memory", "re");
	bool on;

	if (!file)
		return false;
	/* Built in but off: opening works, reading says EOPNOTSUPP. */
	on = fgets(line, sizeof(line), file) != NULL;
	fclose(file);
	return on;
}

/* The number of an enumerator, whatever its enum is called. */
static __u32 enumerator(const struct btf *btf, const char *name, __u32 otherwise)
{
	__u32 count = btf__type_cnt(btf);

	for (__u32 id = 1; id < count; id++) {
		const struct btf_type *type = btf__type_by_id(btf, id);
		const struct btf_enum *value = btf_enum(type);

		if (!btf_is_enum(type))
			continue;
		for (int i = 0; i < btf_vlen(type); i++) {
			if (!strcmp(btf__name_by_offset(btf, value[i].name_off), name))
				return (__u32)value[i].val;
		}
	}
	return otherwise;
}

struct knobs find_knobs(const struct btf *btf, bool callbacks)
{
	bool wq = lmk_probe_has(btf, LMK_FACT_KFUNC, "bpf_wq_init");
	bool work = lmk_probe_has(btf, LMK_FACT_KFUNC, "bpf_task_work_schedule_signal") ||
		    lmk_probe_has(btf, LMK_FACT_KFUNC, "bpf_task_work_schedule_signal_impl");

	return (struct knobs){
		.page_kb = (__u32)(sysconf(_SC_PAGESIZE) / 1024),
		.node_count = last_of_list("/sys/devices/system/node/possible") + 1,
		.psi_on = psi_is_on(),
		.count_reclaim =
			lmk_probe_has(btf, LMK_FACT_TRACEPOINT, "mm_vmscan_direct_reclaim_begin") &&
			lmk_probe_has(btf, LMK_FACT_TRACEPOINT, "mm_vmscan_direct_reclaim_end"),
		.use_timer = callbacks,
		.use_workqueue = callbacks && wq,
		.use_task_work = callbacks && work,
		.gfp_direct_reclaim_bit = enumerator(btf, "___GFP_DIRECT_RECLAIM_BIT", 10),
	};
}

/* Sets a `const volatile __u32` of the object before it is loaded. */
static int set_knob(struct bpf_object *object, const char *name, __u32 value)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
	const struct btf *btf = bpf_object__btf(object);
	__s32 section = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);
	const struct btf_type *type;
	const struct btf_var_secinfo *variable;
	size_t size = 0;
	char *data;

	if (!map || section < 0)
		return -ENOENT;
	data = bpf_map__initial_value(map, &size);
	type = btf__type_by_id(btf, (__u32)section);
	variable = btf_var_secinfos(type);
	for (int i = 0; data && i < btf_vlen(type); i++) {
		const struct btf_type *its = btf__type_by_id(btf, variable[i].type);

		if (strcmp(btf__name_by_offset(btf, its->name_off), name) ||
		    variable[i].offset + sizeof(value) > size)
			continue;
		memcpy(data + variable[i].offset, &value, sizeof(value));
		return 0;
	}
	return -ENOENT;
}

int set_knobs(struct bpf_object *object, const struct knobs *knobs)
{
	const struct {
		const char *name;
		__u32 value;
	} all[] = {
		{"page_kb", knobs->page_kb},
		{"node_count", knobs->node_count},
		{"psi_on", knobs->psi_on},
		{"count_reclaim", knobs->count_reclaim},
		{"use_timer", knobs->use_timer},
		{"use_workqueue", knobs->use_workqueue},
		{"use_task_work", knobs->use_task_work},
		{"gfp_direct_reclaim_bit", knobs->gfp_direct_reclaim_bit},
	};
	int error = 0;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && !error; i++)
		error = set_knob(object, all[i].name, all[i].value);
	return error;
}
