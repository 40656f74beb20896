// SPDX-License-Identifier: Apache-2.0
#include "give_back.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "bpf_sys.h"
#include "clock.h"
#include "exit_code.h"
#include "leftovers.h"
#include "lmkd_replaced.h"
#include "session_file.h"
#include "stopped_units.h"

/* There must never be two killers, nor none for longer than it takes: hence the order. */

bool kills_without_agent(const struct shared *shared)
{
	return shared->kill_path == LMK_PATH_IN_KERNEL && !shared->agent_timer;
}

static int give_back_lmkd(struct shared *shared)
{
	__u64 answered_ns, ended_ns = shared->agent_ended_ns;
	__u64 patience_ns = lmkd_silent(shared->dir) ? LMKD_TRY_NS : LMKD_ANSWER_NS;
	int error = lmkd_restore(shared->dir, patience_ns, &answered_ns);

	if (error || !answered_ns)
		return error;
	shared->lmkd_restored = 1;
	shared->lmkd_answered_ns = answered_ns;
	shared->lmkd_gaps = (struct lmkd_gaps){.socket_known = ended_ns != 0};
	if (ended_ns)
		shared->lmkd_gaps.socket_ms = lmkd_gap_ms(ended_ns, answered_ns);
	return 0;
}

int give_back_killers(struct shared *shared)
{
	char list[sizeof(shared->units_restored)];
	int error = give_back_lmkd(shared);
	int started = stopped_units_restore(shared->dir, list, sizeof(list));

	if (started > 0)
		memcpy(shared->units_restored, list, sizeof(list));
	return error || started >= 0 ? error : started;
}

void give_back_killers_patiently(struct shared *shared)
{
	__u64 pause_ns = LMKD_PAUSE_NS;

	while (give_back_killers(shared) && lmkd_silent(shared->dir)) {
		usleep((useconds_t)(pause_ns / NSEC_PER_USEC));
		pause_ns = lmkd_next_pause(pause_ns);
	}
}

bool give_back_noted(const char *dir)
{
	return lmkd_replaced(dir) || stopped_units_noted(dir);
}

void note_could_kill(struct shared *shared, bool by_agent)
{
	if (by_agent != kills_without_agent(shared) && !shared->could_kill_ns)
		shared->could_kill_ns = boottime_ns();
}

static int dry_run(struct shared *shared)
{
	int error;

	note_could_kill(shared, false);
	error = bpf_dry_run();
	return error == -ENOENT ? 0 : error; /* half a load left no policy: nothing kills */
}

/* A timer in a map that is still in use would go on. */
static int stop_handlers(struct shared *shared)
{
	int error = bpf_stop();

	(void)shared;
	return error == -ENOENT ? 0 : error;
}

/* What the dead could not say, and what nobody could before this. */
static int record_killers_back(struct shared *shared)
{
	return shared->lmkd_restored || shared->lmkd_answered_ns || shared->units_restored[0]
		       ? leftovers_spool_restored(shared)
		       : 0;
}

static int unpin(struct shared *shared)
{
	(void)shared;
	return pins_remove();
}

int give_back(struct shared *shared, bool handlers)
{
	static const struct {
		const char *name;
		int (*step)(struct shared *shared);
	} steps[] = {
		{"start whom it replaced, and wait for their answer", give_back_killers},
		{"dry run", dry_run},
		{"stop the handlers", stop_handlers},
		{"unpin", unpin},
		{"record that they are back", record_killers_back},
	};
	int first_error = 0;

	for (size_t i = 0; handlers && i < sizeof(steps) / sizeof(*steps); i++) {
		int error = steps[i].step(shared);

		if (!error)
			continue;
		log_line("give back: %s: %s", steps[i].name, strerror(-error));
		if (!first_error)
			first_error = error;
		/* Rather nobody else's killer than none. */
		if (lmkd_silent(shared->dir))
			return error;
	}
	session_remove(shared->dir);
	return first_error;
}
