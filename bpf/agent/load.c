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

int load_self_test(struct shared *shared)
{
	struct lmk_call call = {.pid = getpid()};
	struct pins pins;
	const char *missing = "";
	int error;

	error = pins_open(&pins, &missing);
	if (error) {
		snprintf(shared->self_test_text, sizeof(shared->self_test_text), "%s: %s", missing,
			 strerror(-error));
		return error;
	}
	error = bpf_run(pins.self_test, &call);
	if (!error)
		error = call.result;
	pins_close(&pins);
	snprintf(shared->self_test_text, sizeof(shared->self_test_text),
		 "whole pick path with signal 0: %s", error ? strerror(-error) : "ok");
	return error;
}

int load_handlers(struct shared *shared, const struct load_options *options)
{
	(void)options;
	shared->self_test_result = load_self_test(shared);
	return EXIT_UNSUPPORTED;
}
