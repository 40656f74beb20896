// SPDX-License-Identifier: Apache-2.0
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bpf_sys.h"
#include "exit_code.h"
#include "policy_check.h"
#include "policy_from_pb.h"
#include "process.h"
#include "rules.h"
#include "session_file.h"

/* Of a verifier log, shown when loading fails: its end says what was refused. */
#define LOG_SHOWN 16384
/* A decision on another CPU had the claim: it is over in a millisecond. */
#define BUSY_TRIES 20

static int run_self_test(const struct pins *pins, struct lmk_call *call)
{
	int error;

	for (int i = 0; i < BUSY_TRIES; i++) {
		*call = (struct lmk_call){.op = LMK_OP_SELF_TEST, .pid = getpid()};
		error = bpf_run_whole(pins, call);
		if (!error)
			error = call->result;
		if (error != -EBUSY)
			break;
		usleep(1000);
	}
	return error;
}

/* Which context carries a kill that no process of ours makes. */
static __u32 working_carrier(const struct lmk_carriers *carriers)
{
	const struct lmk_carrier_test *test = carriers->test;

	if (test[LMK_DEFER_WORKQUEUE].ran_ns && !test[LMK_DEFER_WORKQUEUE].result)
		return LMK_CARRIER_WORKQUEUE;
	if ((test[LMK_DEFER_INIT].ran_ns && !test[LMK_DEFER_INIT].result) ||
	    (test[LMK_DEFER_AGENT].ran_ns && !test[LMK_DEFER_AGENT].result))
		return LMK_CARRIER_TASK_WORK;
	return LMK_CARRIER_SYSCALL;
}

int load_self_test(struct shared *shared)
{
	struct lmk_carriers carriers;
	const char *missing = "";
	struct lmk_call call;
	struct pins pins;
	__u32 zero = 0;
	int error;

	error = pins_open(&pins, &missing);
	if (error) {
		snprintf(shared->self_test_text, sizeof(shared->self_test_text), "%s: %s", missing,
			 strerror(-error));
		return error;
	}
	shared->carrier = LMK_CARRIER_SYSCALL;
	if (!bpf_map_get(pins.carriers, &zero, &carriers)) /* as the loader's own test left it */
		shared->carrier = working_carrier(&carriers);
	error = run_self_test(&pins, &call);
	pins_close(&pins);
	snprintf(shared->self_test_text, sizeof(shared->self_test_text),
		 "signal 0 down the whole pick path: %s; %u candidates; carrier %s",
		 error ? strerror(-error) : "ok", call.n_candidates, carrier_name(shared->carrier));
	return error;
}

/* The policy as the handlers read it, for the loader. fail()s. */
static void write_view(const char *path, const struct shared *shared)
{
	struct lmk_policy view;
	lmk_v1_Policy policy;
	char why[160];
	int fd;

	if (!policy_decode(shared->policy, shared->policy_bytes, &policy, why, sizeof(why)))
		fail(EXIT_USAGE, "policy: %s", why);
	lmk_policy_from_pb(&policy, &view);
	/* Until the agent has resolved them nobody can tell who is protected. */
	if (rules_need_agent(&policy))
		view.dry_run = 1;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, &view, sizeof(view)) != sizeof(view))
		fail(EXIT_TRANSIENT, "%s: %s", path, strerror(errno));
	close(fd);
}

/* Runs the loader; its answer goes to `answer`, its errors to our stderr. Its exit code. */
static int run_loader(char *const arguments[], char *answer, size_t size)
{
	int out[2], status;
	size_t have = 0;
	ssize_t got;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		fail(EXIT_TRANSIENT, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		fail(EXIT_TRANSIENT, "fork: %s", strerror(errno));
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		execv(arguments[0], arguments);
		fprintf(stderr, "lmk-agent: %s: %s\n", arguments[0], strerror(errno));
		_exit(EXIT_USAGE);
	}
	close(out[1]);
	do {
		got = read(out[0], answer + have, size - 1 - have);
		if (got > 0)
			have += (size_t)got;
	} while ((got > 0 && have < size - 1) || (got < 0 && errno == EINTR));
	answer[have] = 0;
	close(out[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_BUG;
}

static void show_log(const char *path)
{
	static char text[LOG_SHOWN];
	ssize_t length;
	off_t size;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	size = lseek(fd, 0, SEEK_END);
	length = pread(fd, text, sizeof(text), size > LOG_SHOWN ? size - LOG_SHOWN : 0);
	close(fd);
	if (length > 0)
		fwrite(text, 1, (size_t)length, stderr);
}

static __u32 answered_path(const char *answer)
{
	for (__u32 path = LMK_PATH_ASSISTED; path <= LMK_PATH_OOM_OPS; path++) {
		char wanted[32];

		snprintf(wanted, sizeof(wanted), "\"%s\"", kill_path_name(path));
		if (strstr(answer, wanted))
			return path;
	}
	return LMK_PATH_NONE;
}

/* The words of "KEY":"..." in the loader's answer; it writes no quote inside them. */
static void answered_text(const char *answer, const char *key, char *text, size_t size)
{
	char wanted[32];
	const char *at;

	snprintf(wanted, sizeof(wanted), "\"%s\":\"", key);
	at = strstr(answer, wanted);
	at = at ? at + strlen(wanted) : "";
	snprintf(text, size, "%.*s", (int)strcspn(at, "\""), at);
}

int load_handlers(struct shared *shared, const struct load_options *options)
{
	char view[160], log[160], answer[4096];
	char *const arguments[] = {
		(char *)options->loader,
		"load",
		"--object",
		(char *)options->object,
		"--assisted",
		(char *)options->assisted,
		"--policy",
		view,
		"--log",
		log,
		NULL,
	};
	int code;

	snprintf(view, sizeof(view), "%s/policy.view", shared->dir);
	snprintf(log, sizeof(log), "%s/load.log", shared->dir);
	write_view(view, shared);
	unlink(log);
	fflush(stderr);
	code = run_loader(arguments, answer, sizeof(answer));
	unlink(view);
	if (code) {
		/* Without a log the kernel was not asked, and the loader has said why. */
		if (access(log, F_OK))
			return code;
		/* What the kernel said first, then one line; the whole log stays in the file. */
		show_log(log);
		fprintf(stderr,
			"lmk-agent: the handlers were not loaded (%s has the verifier log)\n", log);
		return code;
	}
	shared->kill_path = answered_path(answer);
	shared->agent_timer = strstr(answer, "\"agent_timer\":true") != NULL;
	answered_text(answer, "why", shared->kill_path_why, sizeof(shared->kill_path_why));
	shared->self_test_result = load_self_test(shared);
	if (shared->self_test_result) {
		fprintf(stderr, "lmk-agent: start-up self-test: %s\n", shared->self_test_text);
		pins_remove();
		return EXIT_UNSUPPORTED;
	}
	return EXIT_OK;
}
