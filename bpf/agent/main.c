// SPDX-License-Identifier: Apache-2.0
//
// lmk-agent: subcommands. Answers are one line of JSON on stdout, errors one line on stderr
// (what goes before it is the long story), exit codes those of lmk/errors.py.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent.h"
#include "ask_status.h"
#include "bpf_sys.h"
#include "exit_code.h"
#include "lmkd_service.h"
#include "fill.h"
#include "guardian.h"
#include "keeper.h"
#include "load.h"
#include "run.h"
#include "spool.h"
#include "start.h"

static const char usage[] =
	"usage: lmk-agent start --dir DIR --policy FILE [--object FILE] [--assisted FILE]\n"
	"                 [--loader FILE]\n"
	"                 [--lease-ms N | --no-lease] [--spool-limit-kb N] [--build-id ID]\n"
	"                 [--device-name NAME] [--holder WHO] [--replace-lmkd]\n"
	"                 [--lmkd-prockill-bytes 12 | 16]\n"
	"                                           load handlers, start agent and guardian\n"
	"       lmk-agent run [...]                 as start, and stay until the session ends;\n"
	"                                           SIGTERM ends it: for an init\n"
	"       lmk-agent serve --dir DIR [--lmkd-socket PATH] [...]\n"
	"                                           the same without handlers: serve the spool\n"
	"       lmk-agent stop --dir DIR [--leftovers]\n"
	"                                           give the device back, also after a crash; or\n"
	"                                           only what dead ones left\n"
	"       lmk-agent status --dir DIR          ask the running agent\n"
	"       lmk-agent handlers                  would the pinned ones kill?\n"
	"       lmk-agent self-test                 signal 0 through the pinned handlers\n"
	"       lmk-agent --spool-fill N --dir DIR [--full] [--spool-limit-kb N]\n"
	"       lmk-agent version\n";

#define LEASE_MS_MAX (1000ULL * 86400 * 366)

static __u64 number(const char *option, const char *text, __u64 least, __u64 most)
{
	char *end;
	__u64 value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || value < least || value > most)
		fail(EXIT_USAGE, "%s %s: not a number in %llu..%llu", option, text, least, most);
	return value;
}

struct options {
	struct start_options start;
	const char *command;
	__u64 fill;
	bool full;
	bool leftovers;
	char **words; /* to begin anew with: of `run`; NULL: not it */
};

static void check_word(const char *option, const char *text, size_t most)
{
	if (strlen(text) > most || text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
						     "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
						     "0123456789._:#@-")])
		fail(EXIT_USAGE, "%s: at most %zu letters, digits and ._:#@-", option, most);
}

static void parse_value(struct options *options, const char *name, const char *value)
{
	struct start_options *start = &options->start;

	if (!strcmp(name, "--dir")) {
		start->dir = value;
	} else if (!strcmp(name, "--object")) {
		start->object = value;
	} else if (!strcmp(name, "--assisted")) {
		start->assisted = value;
	} else if (!strcmp(name, "--loader")) {
		start->loader = value;
	} else if (!strcmp(name, "--policy")) {
		start->policy = value;
	} else if (!strcmp(name, "--build-id")) {
		check_word(name, value, 64);
		start->build_id = value;
	} else if (!strcmp(name, "--device-name")) {
		check_word(name, value, 63);
		start->device_name = value;
	} else if (!strcmp(name, "--holder")) {
		check_word(name, value, HOLDER_BYTES - 1);
		start->holder = value;
	} else if (!strcmp(name, "--lmkd-socket")) {
		if (value[0] != '/' || strlen(value) >= sizeof(((struct shared *)0)->lmkd_socket))
			fail(EXIT_USAGE, "%s: an absolute path of at most 107 bytes", name);
		start->lmkd_socket = value;
	} else if (!strcmp(name, "--lmkd-prockill-bytes")) {
		if (strcmp(value, "12") && strcmp(value, "16"))
			fail(EXIT_USAGE, "%s: 12 or 16", name);
		start->lmkd_short_killed = !strcmp(value, "12");
	} else if (!strcmp(name, "--lease-ms")) {
		start->lease_ms = number(name, value, 0, LEASE_MS_MAX);
	} else if (!strcmp(name, "--spool-limit-kb")) {
		start->spool_limit_kb =
			(__u32)number(name, value, SPOOL_LIMIT_KB_LEAST, 1024 * 1024);
	} else if (!strcmp(name, "--spool-fill")) {
		options->command = "--spool-fill";
		options->fill = number(name, value, 1, 100000000);
	} else {
		fail(EXIT_USAGE, "%s: unknown; `lmk-agent help` lists what there is", name);
	}
}

static void parse(struct options *options, int count, char **words)
{
	for (int i = 1; i < count; i++) {
		const char *word = words[i];

		if (!strcmp(word, "--no-lease")) {
			options->start.lease_ms = 0;
		} else if (!strcmp(word, "--replace-lmkd")) {
			options->start.replace_lmkd = true;
		} else if (!strcmp(word, "--leftovers")) {
			options->leftovers = true;
		} else if (!strcmp(word, "--full")) {
			options->full = true;
		} else if (!strncmp(word, "--", 2)) {
			if (i + 1 == count)
				fail(EXIT_USAGE, "%s: needs a value", word);
			parse_value(options, word, words[++i]);
		} else if (!options->command) {
			options->command = word;
		} else {
			fail(EXIT_USAGE, "%s: unexpected", word);
		}
	}
}

static int start(struct options *options, bool with_handlers)
{
	struct start_options *start = &options->start;
	static char loader[160], object[160], assisted[160];

	start->with_handlers = with_handlers;
	if (with_handlers && !start->policy)
		fail(EXIT_USAGE, "start: --policy FILE is missing");
	if (!with_handlers && start->replace_lmkd)
		fail(EXIT_USAGE, "--replace-lmkd: `serve` has no handlers that could kill");
	if (with_handlers && start->lmkd_socket)
		fail(EXIT_USAGE, "--lmkd-socket: only with `serve`; --replace-lmkd serves lmkd's");
	if (start->replace_lmkd)
		start->lmkd_socket = LMKD_SOCKET;
	snprintf(loader, sizeof(loader), "%s/lmk-loader", start->dir);
	snprintf(object, sizeof(object), "%s/lmk.bpf.o", start->dir);
	snprintf(assisted, sizeof(assisted), "%s/assisted.bpf.o", start->dir);
	if (!start->loader)
		start->loader = loader;
	if (!start->object)
		start->object = object;
	if (!start->assisted)
		start->assisted = assisted;
	start->patient = options->words != NULL;
	return options->words ? run_main(start, options->words) : start_main(start);
}

static int self_test(void)
{
	static struct shared shared;
	int error = load_self_test(&shared);
	__s32 key, *after = NULL;
	const char *missing;
	struct pins pins;

	printf("{\"result\": %d, \"text\": \"%s\", \"protected\": [", error, shared.self_test_text);
	if (!pins_open(&pins, &missing)) {
		for (; !bpf_map_next(pins.protected, after, &key); after = &key)
			printf("%s%d", after ? ", " : "", key);
	}
	puts("]}");
	return error ? EXIT_CHECK_FAILED : EXIT_OK;
}

/* Of themselves; on the assisted path their agent has to live. */
static int handlers(void)
{
	struct lmk_call call = {.op = LMK_OP_POLICY};
	struct lmk_policy policy = {.dry_run = 1};
	const char *missing;
	struct pins pins;
	bool pinned = !pins_open(&pins, &missing);

	if (pinned && (bpf_run(pins.call, &call) || bpf_policy_in_force(&pins, &policy)))
		call.running = 0;
	printf("{\"pinned\": %s, \"running\": %s, \"dry_run\": %s}\n", pinned ? "true" : "false",
	       call.running ? "true" : "false", policy.dry_run ? "true" : "false");
	return EXIT_OK;
}

static int version(void)
{
	struct utsname uts = {0};

	uname(&uts);
	printf("{\"protocol_version\": %d, \"abi\": \"%s\", \"abi_bytes\": [%zu, %zu, %zu]}\n",
	       RECORD_PROTOCOL_VERSION, uts.machine, sizeof(struct lmk_kill_event),
	       sizeof(struct lmk_call), sizeof(struct lmk_policy));
	return EXIT_OK;
}

int main(int count, char **words)
{
	struct options options = {
		.start = {.build_id = "unknown",
			  .device_name = "",
			  .holder = "",
			  .lease_ms = 15 * 60 * 1000,
			  .spool_limit_kb = SPOOL_LIMIT_KB},
	};
	const char *command;

	/* The daemons' roles: everything else they know is in shared memory. */
	if (count == 2 && !strcmp(words[1], "agent"))
		return agent_main();
	if (count == 2 && !strcmp(words[1], "guardian"))
		return guardian_main();
	if (count == 2 && !strcmp(words[1], "keeper"))
		return keeper_main();
	parse(&options, count, words);
	command = options.command ? options.command : "help";
	if (!strcmp(command, "version"))
		return version();
	if (!strcmp(command, "self-test"))
		return self_test();
	if (!strcmp(command, "handlers"))
		return handlers();
	if (!strcmp(command, "help")) {
		fputs(usage, options.command ? stdout : stderr);
		return options.command ? EXIT_OK : EXIT_USAGE;
	}
	if (!options.start.dir)
		fail(EXIT_USAGE, "%s: --dir DIR is missing", command);
	if (!strcmp(command, "start"))
		return start(&options, true);
	if (!strcmp(command, "run")) {
		options.words = words;
		return start(&options, true);
	}
	if (!strcmp(command, "serve"))
		return start(&options, false);
	if (!strcmp(command, "stop"))
		return stop_main(options.start.dir,
				 options.leftovers ? STOP_LEFTOVERS : STOP_SESSION);
	if (!strcmp(command, "status"))
		return ask_status_main(options.start.dir);
	if (!strcmp(command, "--spool-fill"))
		return fill_main(options.start.dir, options.fill, options.full,
				 options.start.spool_limit_kb);
	fail(EXIT_USAGE, "%s: no such command; `lmk-agent help` lists what there is", command);
}
