// SPDX-License-Identifier: Apache-2.0
#include "give_back.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "bpf_sys.h"
#include "exit_code.h"
#include "session_file.h"

/* There must never be two killers, nor none for longer than it takes: hence the order. */

/* A stopped lmkd comes back before our handlers go. Nothing stops it yet: nothing to start. */
static int start_lmkd(void)
{
	return 0;
}

/* Until its socket answers. */
static int wait_for_lmkd(void)
{
	return 0;
}

static int dry_run(void)
{
	int error = bpf_dry_run();

	return error == -ENOENT ? 0 : error; /* half a load left no policy: nothing kills */
}

/* A timer in a map that is still in use would go on. */
static int stop_handlers(void)
{
	int error = bpf_stop();

	return error == -ENOENT ? 0 : error;
}

int give_back(const char *dir, bool handlers)
{
	static const struct {
		const char *name;
		int (*step)(void);
	} steps[] = {
		{"start lmkd", start_lmkd}, {"wait for lmkd", wait_for_lmkd},
		{"dry run", dry_run},	    {"stop the handlers", stop_handlers},
		{"unpin", pins_remove},
	};
	int first_error = 0;

	for (size_t i = 0; handlers && i < sizeof(steps) / sizeof(*steps); i++) {
		int error = steps[i].step();

		if (!error)
			continue;
		log_line("give back: %s: %s", steps[i].name, strerror(-error));
		if (!first_error)
			first_error = error;
	}
	session_remove(dir);
	return first_error;
}
