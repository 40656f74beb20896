// SPDX-License-Identifier: Apache-2.0
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/magic.h>

#include "json.h"
#include "process_scan.h"

/* Without it there is no ... */
enum need {
	NEED_NONE,	/* it helps */
	NEED_IN_KERNEL, /* in_kernel path */
	NEED_ALL,	/* kill path at all */
};

/*
 * One thing the handlers use. `any`: one of the names is enough, written "a|b" (a kfunc that
 * changed its name or prototype between kernels).
 */
struct fact {
	enum lmk_fact_kind kind;
	const char *names;
	const char *purpose;
	const char *enables; /* what would make it there */
	enum need need;
};

static const struct fact facts[] = {
	{LMK_FACT_KFUNC, "bpf_send_signal_task", "kill from BPF", "Linux 6.13, or a backport",
	 NEED_IN_KERNEL},
	{LMK_FACT_KFUNC, "bpf_iter_task_new", "walk all processes", "Linux 6.7", NEED_IN_KERNEL},
	{LMK_FACT_KFUNC, "bpf_iter_task_new|bpf_iter_task",
	 "walk all processes, else by an iterator", "Linux 5.8", NEED_ALL},
	{LMK_FACT_KFUNC, "bpf_iter_num_new", "bounded loops without callbacks", "Linux 6.4",
	 NEED_IN_KERNEL},
	{LMK_FACT_KFUNC, "bpf_task_acquire", "hold the victim while it is signalled", "Linux 6.2",
	 NEED_IN_KERNEL},
	{LMK_FACT_KFUNC, "bpf_task_from_pid", "find the carrier and the victim again", "Linux 6.2",
	 NEED_IN_KERNEL},
	{LMK_FACT_KFUNC, "bpf_rcu_read_lock", "walk processes in sleepable programs", "Linux 6.2",
	 NEED_IN_KERNEL},
	{LMK_FACT_KFUNC, "bpf_preempt_disable", "decide without being interrupted", "Linux 6.11",
	 NEED_IN_KERNEL},
	{LMK_FACT_KFUNC, "bpf_wq_init", "kill from a work queue (arm64)", "Linux 6.10", NEED_NONE},
	{LMK_FACT_KFUNC, "bpf_wq_set_callback|bpf_wq_set_callback_impl",
	 "kill from a work queue (arm64)", "Linux 6.10", NEED_NONE},
	{LMK_FACT_KFUNC, "bpf_task_work_schedule_signal|bpf_task_work_schedule_signal_impl",
	 "kill from a user task's own context (x86)", "Linux 6.18", NEED_NONE},
	{LMK_FACT_KFUNC, "bpf_oom_kill_process", "kill from the OOM path",
	 "the \"mm: BPF OOM\" series", NEED_NONE},
	{LMK_FACT_STRUCT, "bpf_oom_ops", "decide in out_of_memory()", "the \"mm: BPF OOM\" series",
	 NEED_NONE},
	{LMK_FACT_HELPER, "ringbuf_output", "events to the agent", "Linux 5.8", NEED_ALL},
	{LMK_FACT_HELPER, "timer_init", "the level sensor without the agent", "Linux 5.15",
	 NEED_NONE},
	{LMK_FACT_HELPER, "ktime_get_boot_ns", "the clock of reports", "Linux 5.8", NEED_ALL},
	{LMK_FACT_HELPER, "per_cpu_ptr", "per-CPU stall times", "Linux 5.10", NEED_ALL},
	{LMK_FACT_TRACEPOINT, "mm_vmscan_wakeup_kswapd", "decide as kswapd is woken",
	 "CONFIG_TRACEPOINTS", NEED_NONE},
	{LMK_FACT_TRACEPOINT, "mm_vmscan_direct_reclaim_begin", "decide in direct reclaim",
	 "CONFIG_TRACEPOINTS", NEED_NONE},
	{LMK_FACT_TRACEPOINT, "mm_vmscan_direct_reclaim_end", "count direct reclaimers",
	 "CONFIG_TRACEPOINTS", NEED_NONE},
	{LMK_FACT_TRACEPOINT, "mm_vmscan_kswapd_wake", "whether kswapd is awake",
	 "CONFIG_TRACEPOINTS", NEED_NONE},
	{LMK_FACT_TRACEPOINT, "mm_vmscan_kswapd_sleep", "whether kswapd is awake",
	 "CONFIG_TRACEPOINTS", NEED_NONE},
	{LMK_FACT_TRACEPOINT, "sched_process_exit", "see the victim exit", "CONFIG_TRACEPOINTS",
	 NEED_ALL},
	{LMK_FACT_TRACEPOINT, "exit_mmap", "see its memory come back", "Linux 6.0", NEED_ALL},
	{LMK_FACT_VARIABLE, "system_group_pcpu", "PSI in the kernel (else the agent reads it)",
	 "CONFIG_PSI, CONFIG_KALLSYMS_ALL", NEED_NONE},
	{LMK_FACT_VARIABLE, "runqueues", "the scheduler's clock, per-CPU offsets",
	 "CONFIG_KALLSYMS_ALL", NEED_IN_KERNEL},
	{LMK_FACT_KSYM, "nr_swap_pages", "free swap (else the agent reads it)",
	 "kernel.kptr_restrict below 2", NEED_NONE},
	{LMK_FACT_KSYM, "total_swap_pages", "swap size (else the agent reads it)",
	 "kernel.kptr_restrict below 2", NEED_NONE},
	{LMK_FACT_KSYM, "totalreserve_pages", "MemAvailable as the kernel reckons it",
	 "kernel.kptr_restrict below 2", NEED_NONE},
	{LMK_FACT_KSYM, "node_data|contig_page_data", "zones without a memory cgroup",
	 "kernel.kptr_restrict below 2", NEED_NONE},
};

#define FACTS (sizeof(facts) / sizeof(facts[0]))

static const char *const kind_names[LMK_FACT_MAX] = {
	[LMK_FACT_KFUNC] = "kfunc",
	[LMK_FACT_HELPER] = "helper",
	[LMK_FACT_TRACEPOINT] = "tracepoint",
	[LMK_FACT_VARIABLE] = "variable",
	[LMK_FACT_KSYM] = "ksym",
	[LMK_FACT_STRUCT] = "struct",
};

static const char *const kind_probes[LMK_FACT_MAX] = {
	[LMK_FACT_KFUNC] = "vmlinux BTF: FUNC with this name",
	[LMK_FACT_HELPER] = "vmlinux BTF: enum bpf_func_id",
	[LMK_FACT_TRACEPOINT] = "vmlinux BTF: typedef btf_trace_*",
	[LMK_FACT_VARIABLE] = "vmlinux BTF: VAR with this name; kallsyms",
	[LMK_FACT_KSYM] = "/proc/kallsyms: address not hidden",
	[LMK_FACT_STRUCT] = "vmlinux BTF: STRUCT with this name",
};

static void write_psi(const struct btf *btf)
{
	char line[256] = "";
	bool present = lmk_read_line("/proc/pressure/memory", line, sizeof(line));

	json_open("psi", '{');
	json_bool("in_kernel", lmk_probe_has(btf, LMK_FACT_VARIABLE, "system_group_pcpu"));
	json_bool("on", present && strncmp(line, "some", 4) == 0);
	json_string("probe", "/proc/pressure/memory readable");
	json_string("enables", "CONFIG_PSI and psi=1 on the kernel command line");
	json_close('}');
}

static void write_cgroup(void)
{
	char line[4096] = "";
	struct statfs fs;
	bool v2 = statfs("/sys/fs/cgroup", &fs) == 0 &&
		  (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC;
	bool hybrid = statfs("/sys/fs/cgroup/unified", &fs) == 0 &&
		      (unsigned long)fs.f_type == CGROUP2_SUPER_MAGIC;

	json_open("cgroup", '{');
	json_string("layout",
		    v2	     ? "v2"
		    : hybrid ? "hybrid"
		    : access("/dev/memcg", F_OK) == 0 || access("/sys/fs/cgroup/memory", F_OK) == 0
			    ? "v1"
			    : "none");
	if (!lmk_read_line("/sys/fs/cgroup/cgroup.controllers", line, sizeof(line)))
		line[0] = '\0';
	json_bool("memory_controller", strstr(line, "memory") != NULL);
	if (!lmk_read_line("/proc/cmdline", line, sizeof(line)))
		line[0] = '\0';
	json_bool("pressure_disabled", strstr(line, "cgroup_disable=pressure") != NULL);
	json_close('}');
}

static void write_security(int load_error)
{
	char line[128];
	bool found;

	json_open("security", '{');
	json_number("uid", (long long)geteuid());
	json_bool("root", geteuid() == 0);
	json_bool("cap_sys_admin", lmk_probe_capable(21));
	json_bool("cap_bpf", lmk_probe_capable(39) || lmk_probe_capable(21));
	json_bool("bpf_load", load_error == 0);
	json_string("bpf_load_error", load_error ? strerror(-load_error) : NULL);
	found = lmk_read_line("/sys/fs/selinux/enforce", line, sizeof(line));
	json_string("selinux", !found ? "absent" : line[0] == '1' ? "enforcing" : "permissive");
	found = lmk_read_line("/sys/kernel/security/lockdown", line, sizeof(line));
	json_string("lockdown", found ? line : NULL);
	found = lmk_read_line("/proc/sys/kernel/kptr_restrict", line, sizeof(line));
	json_number("kptr_restrict", found ? atoi(line) : -1);
	json_bool("cfi", lmk_probe_cfi());
	json_close('}');
}

static void write_config(void)
{
	static const char *const options[] = {
		"CONFIG_BPF_SYSCALL", "CONFIG_BPF_JIT", "CONFIG_DEBUG_INFO_BTF",  "CONFIG_PSI",
		"CONFIG_MEMCG",	      "CONFIG_SWAP",	"CONFIG_FUNCTION_TRACER",
	};

	json_open("config", '{');
	json_string("source", lmk_probe_config_path());
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		int value = lmk_probe_config(options[i]);

		if (value >= 0)
			json_bool(options[i], value == 1);
	}
	json_close('}');
}

static void write_fact(const struct fact *fact, bool present)
{
	json_open(NULL, '{');
	json_string("kind", kind_names[fact->kind]);
	json_string("name", fact->names);
	json_bool("present", present);
	json_bool("needed", fact->need == NEED_ALL);
	json_bool("needed_in_kernel", fact->need != NEED_NONE);
	json_string("for", fact->purpose);
	json_string("probe", kind_probes[fact->kind]);
	json_string("enables", fact->enables);
	json_close('}');
}

static void refuse(const char *path, const char *what, const char *probe, const char *enables)
{
	json_open(NULL, '{');
	json_string("path", path);
	json_string("missing", what);
	json_string("probe", probe);
	json_string("enables", enables);
	json_close('}');
}

/* Every "no" that keeps the device from a kill path; returns whether BPF can be used at all. */
static bool write_obstacles(const struct btf *btf, int btf_error, const bool *present,
			    int load_error)
{
	bool usable = btf && !load_error && geteuid() == 0;
	struct statfs fs;

	json_open("obstacles", '[');
	if (geteuid() != 0)
		refuse("any", "root", "id -u; su", "adb root, or a working su");
	if (!btf)
		refuse("any", "kernel BTF", strerror(-btf_error),
		       "CONFIG_DEBUG_INFO_BTF (/sys/kernel/btf/vmlinux)");
	if (load_error)
		refuse("any", "loading BPF programs", strerror(-load_error),
		       "root, CONFIG_BPF_SYSCALL, no lockdown");
	if (statfs("/sys/fs/bpf", &fs) != 0 || (unsigned long)fs.f_type != BPF_FS_MAGIC) {
		refuse("any", "bpffs", "statfs /sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf");
		usable = false;
	}
	for (size_t i = 0; btf && i < FACTS; i++) {
		if (facts[i].need != NEED_NONE && !present[i])
			refuse(facts[i].need == NEED_ALL ? "any" : "in_kernel", facts[i].names,
			       kind_probes[facts[i].kind], facts[i].enables);
	}
	json_close(']');
	return usable;
}

bool lmk_probe_lacks(const struct btf *btf, enum lmk_kill_path path, char *words, size_t size)
{
	for (size_t i = 0; i < FACTS; i++) {
		const struct fact *fact = &facts[i];

		if (fact->need == NEED_NONE ||
		    (fact->need == NEED_IN_KERNEL && path != LMK_PATH_IN_KERNEL) ||
		    lmk_probe_has_any(btf, fact->kind, fact->names))
			continue;
		snprintf(words, size, "%s is missing (%s); %s", fact->names,
			 kind_probes[fact->kind], fact->enables);
		return true;
	}
	return false;
}

int lmk_probe_main(void)
{
	struct lmk_path_choice choice = {0};
	bool present[FACTS], usable;
	int btf_error, load_error, lmkd;
	struct utsname kernel;
	struct btf *btf;

	libbpf_set_print(NULL);
	btf = lmk_probe_btf(&btf_error);
	load_error = lmk_probe_load();
	uname(&kernel);
	for (size_t i = 0; i < FACTS; i++)
		present[i] = lmk_probe_has_any(btf, facts[i].kind, facts[i].names);

	json_open(NULL, '{');
	json_number("schema", 2);
	json_string("kernel", kernel.release);
	json_string("abi", kernel.machine);
	json_bool("btf", btf != NULL);
	json_string("btf_error", btf ? NULL : strerror(-btf_error));
	json_open("facts", '[');
	for (size_t i = 0; i < FACTS; i++)
		write_fact(&facts[i], present[i]);
	json_close(']');
	write_psi(btf);
	write_cgroup();
	write_security(load_error);
	write_config();
	lmkd = lmk_find_process("lmkd");
	json_open("lmkd", '{');
	json_bool("running", lmkd > 0);
	json_number("pid", lmkd);
	json_string("probe", "/proc/PID/exe named lmkd");
	json_close('}');
	json_open("carriers", '{');
	json_bool("syscall", true);
	json_bool("reclaim", lmk_probe_has(btf, LMK_FACT_TRACEPOINT, "mm_vmscan_wakeup_kswapd"));
	choice = lmk_choose_path(btf, LMK_PATH_NONE);
	json_bool("workqueue",
		  lmk_probe_has(btf, LMK_FACT_KFUNC, "bpf_wq_init") && choice.callbacks);
	json_bool("task_work",
		  lmk_probe_has_any(
			  btf, LMK_FACT_KFUNC,
			  "bpf_task_work_schedule_signal|bpf_task_work_schedule_signal_impl") &&
			  choice.callbacks);
	json_close('}');
	usable = write_obstacles(btf, btf_error, present, load_error);
	json_string("kill_path", usable ? lmk_path_name(choice.path) : "none");
	json_string("why", choice.why);
	json_bool("callbacks", choice.callbacks);
	json_bool("oom_ops", lmk_probe_has(btf, LMK_FACT_STRUCT, "bpf_oom_ops") &&
				     lmk_probe_has(btf, LMK_FACT_KFUNC, "bpf_oom_kill_process"));
	json_close('}');
	json_end();
	btf__free(btf);
	return 0;
}
