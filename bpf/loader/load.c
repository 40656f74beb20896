// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "json.h"
#include "knobs.h"
#include "ksyms.h"
#include "pins.h"
#include "probe.h"

/* A carrier that has not answered in this time is not one to rely on. */
#define CARRIER_TIMEOUT_MS 500

/* libbpf and the verifier write here; shown only when loading fails. */
static FILE *log_file;

static int log_line(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level == LIBBPF_DEBUG || !log_file)
		return 0;
	return vfprintf(log_file, format, arguments);
}

/* One line on stderr for a person; `what` says which step. */
static int fail(int exit_code, const char *what, int error)
{
	fprintf(stderr, "lmk-loader: %s: %s\n", what, strerror(error < 0 ? -error : error));
	return exit_code;
}

/* ---- loading ---- */

/* A tracepoint that the kernel lacks costs its program, not the load. */
static void select_programs(struct bpf_object *object, const struct btf *btf,
			    const struct lmk_path_choice *choice)
{
	/*
	 * A task in reclaim has the timer or the agent look (lmk_on_*); with a signal from BPF and
	 * without a timer it decides in place. The iterator is for kernels without the kfuncs.
	 */
	bool look = choice->callbacks || choice->path == LMK_PATH_ASSISTED;
	bool walks = lmk_probe_has(btf, LMK_FACT_KFUNC, "bpf_iter_task_new");
	const char *unused[] = {look ? "lmk_in_wakeup_kswapd" : "lmk_on_wakeup_kswapd",
				look ? "lmk_in_direct_reclaim" : "lmk_on_direct_reclaim",
				walks ? "lmk_walk" : ""};
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		const char *section = bpf_program__section_name(program);
		const char *tracepoint = strchr(section, '/');

		if (!strncmp(section, "tp_btf/", 7) &&
		    !lmk_probe_has(btf, LMK_FACT_TRACEPOINT, tracepoint + 1))
			bpf_program__set_autoload(program, false);
		for (size_t i = 0; i < sizeof(unused) / sizeof(unused[0]); i++) {
			if (!strcmp(bpf_program__name(program), unused[i]))
				bpf_program__set_autoload(program, false);
		}
	}
}

static int pin_all(struct bpf_object *object, const char *dir)
{
	struct bpf_program *program;
	char path[256];
	struct bpf_map *map;
	int error = 0;

	bpf_object__for_each_map(map, object)
	{
		/* .rodata, .bss: the programs hold them. */
		if (bpf_map__is_internal(map))
			continue;
		pin_path(path, sizeof(path), dir, "maps", bpf_map__name(map));
		error = bpf_map__pin(map, path);
		if (error)
			return error;
	}
	bpf_object__for_each_program(program, object)
	{
		if (!bpf_program__autoload(program))
			continue;
		pin_path(path, sizeof(path), dir, "programs", bpf_program__name(program));
		error = bpf_program__pin(program, path);
		if (error)
			return error;
	}
	return 0;
}

/* The links stay by their pins when this process exits. */
static int attach_all(struct bpf_object *object, const char *dir, int *attached)
{
	struct bpf_program *program;
	struct bpf_link *link;
	char path[256];
	int error;

	*attached = 0;
	bpf_object__for_each_program(program, object)
	{
		if (!bpf_program__autoload(program) ||
		    bpf_program__type(program) == BPF_PROG_TYPE_SYSCALL)
			continue;
		link = bpf_program__attach(program);
		if (!link)
			return -errno;
		pin_path(path, sizeof(path), dir, "links", bpf_program__name(program));
		error = bpf_link__pin(link, path);
		bpf_link__disconnect(link);
		bpf_link__destroy(link);
		if (error)
			return error;
		(*attached)++;
	}
	return 0;
}

static int read_policy(const char *path, struct lmk_policy *policy)
{
	FILE *file = fopen(path, "re");
	size_t got;

	if (!file)
		return -errno;
	got = fread(policy, 1, sizeof(*policy), file);
	if (got == sizeof(*policy) && fgetc(file) != EOF)
		got++;
	fclose(file);
	return got == sizeof(*policy) ? 0 : -EINVAL;
}

static int store_policy(struct bpf_object *object, const struct lmk_policy *policy)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, "policy");
	__u32 zero = 0;

	if (!map)
		return -ENOENT;
	return bpf_map__update_elem(map, &zero, sizeof(zero), policy, sizeof(*policy), 0);
}

/* ---- self-test ---- */

static const char *const carrier_names[LMK_DEFER_MAX] = {
	[LMK_DEFER_WORKQUEUE] = "workqueue",
	[LMK_DEFER_AGENT] = "task_work_agent",
	[LMK_DEFER_INIT] = "task_work_init",
};

static bool answered(const struct lmk_carriers *carriers)
{
	for (int i = 0; i < LMK_DEFER_MAX; i++) {
		if (!carriers->test[i].schedule_result && !carriers->test[i].ran_ns)
			return false;
	}
	return true;
}

/* The answers come from other contexts: poll for them, a few times, at start-up only. */
static int wait_for_carriers(const char *dir, struct lmk_carriers *carriers)
{
	const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
	int fd = pins_get(dir, "maps", "carriers"), error = 0;
	__u32 zero = 0;

	if (fd < 0)
		return fd;
	for (int waited = 0; waited < CARRIER_TIMEOUT_MS; waited += 5) {
		error = bpf_map_lookup_elem(fd, &zero, carriers);
		if (error || answered(carriers))
			break;
		nanosleep(&pause, NULL);
	}
	close(fd);
	return error;
}

static void write_carriers(const struct lmk_carriers *carriers)
{
	json_open("carriers", '{');
	for (int i = 0; i < LMK_DEFER_MAX; i++) {
		const struct lmk_carrier_test *test = &carriers->test[i];

		json_open(carrier_names[i], '{');
		json_bool("works", test->ran_ns && !test->result);
		json_number("schedule_result", test->schedule_result);
		json_bool("ran", test->ran_ns);
		json_number("result", test->result);
		if (test->ran_ns)
			json_number("delay_us", (long long)(test->ran_ns - test->asked_ns) / 1000);
		json_close('}');
	}
	json_close('}');
}

/* What the verifier had to walk through: most of what loading costs. */
static void write_verified(const struct bpf_object *object)
{
	struct bpf_program *program;

	json_open("verified_insns", '{');
	bpf_object__for_each_program(program, object)
	{
		struct bpf_prog_info info = {0};
		__u32 size = sizeof(info);

		if (bpf_program__autoload(program) &&
		    !bpf_prog_get_info_by_fd(bpf_program__fd(program), &info, &size))
			json_number(bpf_program__name(program), info.verified_insns);
	}
	json_close('}');
}

static void write_report(const struct bpf_object *object, const struct lmk_path_choice *choice,
			 int attached, const struct lmk_call *test,
			 const struct lmk_carriers *carriers)
{
	bool timer = choice->path == LMK_PATH_IN_KERNEL && choice->callbacks;

	json_open(NULL, '{');
	json_bool("loaded", true);
	json_string("kill_path", lmk_path_name(choice->path));
	json_string("why", choice->why);
	json_number("links", attached);
	json_bool("timer", timer);
	json_bool("agent_timer", !timer);
	json_number("self_test", test->result);
	json_number("sees_candidates", test->n_candidates);
	write_carriers(carriers);
	write_verified(object);
	json_close('}');
	json_end();
}

static int start(const struct bpf_object *object, const char *dir,
		 const struct lmk_path_choice *choice, int attached)
{
	struct lmk_call call = {.op = LMK_OP_SELF_TEST, .pid = getpid()};
	struct lmk_carriers carriers = {0};
	int error;

	error = pins_run(dir, &call);
	if (!error && call.result == -EBUSY) /* a tick had the claim */
		error = pins_run(dir, &call);
	if (!error)
		error = call.result;
	if (error)
		return fail(EXIT_UNSUPPORTED, "self-test of the kill path", error);
	error = wait_for_carriers(dir, &carriers);
	if (error)
		return fail(EXIT_BUG, "map carriers", error);
	write_report(object, choice, attached, &call, &carriers);
	return EXIT_OK;
}

static int load_object(struct bpf_object *object, const struct load_options *options,
		       const struct lmk_path_choice *choice, const struct lmk_policy *policy)
{
	struct lmk_call call = {.op = LMK_OP_INIT};
	int attached, error;

	error = bpf_object__load(object);
	if (error)
		return fail(EXIT_UNSUPPORTED, "the kernel refuses the handlers", error);
	error = pins_prepare(options->pin_dir);
	if (!error)
		error = pin_all(object, options->pin_dir);
	if (error)
		return fail(EXIT_UNSUPPORTED, options->pin_dir, error);
	error = store_policy(object, policy);
	if (error)
		return fail(EXIT_BUG, "map policy", error);
	error = pins_run(options->pin_dir, &call);
	if (error || call.result)
		return fail(EXIT_UNSUPPORTED, "starting the handlers", error ? error : call.result);
	error = attach_all(object, options->pin_dir, &attached);
	if (error)
		return fail(EXIT_UNSUPPORTED, "attaching to tracepoints", error);
	return start(object, options->pin_dir, choice, attached);
}

int lmk_load(const struct load_options *options)
{
	struct bpf_object *object = NULL;
	enum lmk_kill_path wanted = LMK_PATH_NONE;
	struct lmk_path_choice choice;
	struct lmk_policy policy;
	struct knobs knobs;
	const char *file;
	struct btf *btf;
	int error, result;

	error = read_policy(options->policy, &policy);
	if (error)
		return fail(EXIT_USAGE, options->policy, error);
	if (options->path) {
		wanted = lmk_path_named(options->path);
		if (wanted == LMK_PATH_NONE)
			return fail(EXIT_USAGE, options->path, EINVAL);
	}
	if (pins_exist(options->pin_dir))
		return fail(EXIT_TRANSIENT, options->pin_dir, EBUSY);
	btf = lmk_probe_btf(&error);
	if (!btf)
		return fail(EXIT_UNSUPPORTED, "kernel BTF", error);
	choice = lmk_choose_path(btf, wanted);
	file = choice.path == LMK_PATH_ASSISTED ? options->assisted : options->object;
	if (choice.path == LMK_PATH_NONE || !file) {
		fprintf(stderr, "lmk-loader: no kill path: %s\n", choice.why);
		result = EXIT_UNSUPPORTED;
		goto out_btf;
	}
	log_file = options->log ? fopen(options->log, "we") : stderr;
	if (!log_file) {
		result = fail(EXIT_USAGE, options->log, errno);
		goto out_btf;
	}
	libbpf_set_print(log_line);
	object = open_handlers(file, lmk_probe_variables());
	if (!object) {
		result = fail(EXIT_USAGE, file, errno);
		goto out;
	}
	knobs = find_knobs(btf, choice.callbacks);
	error = set_knobs(object, &knobs);
	if (error) {
		result = fail(EXIT_USAGE, file, error);
		goto out;
	}
	select_programs(object, btf, &choice);
	result = load_object(object, options, &choice, &policy);
	if (result)
		lmk_unload(options->pin_dir);
out:
	bpf_object__close(object);
	if (options->log)
		fclose(log_file);
out_btf:
	btf__free(btf);
	return result;
}

int lmk_unload(const char *pin_dir)
{
	struct lmk_call call = {.op = LMK_OP_STOP};
	int error;

	/* Half-loaded leftovers have no such program, or never started: unpinning does the rest. */
	pins_run(pin_dir, &call);
	error = pins_remove(pin_dir);
	return error ? fail(EXIT_BUG, pin_dir, error) : EXIT_OK;
}
