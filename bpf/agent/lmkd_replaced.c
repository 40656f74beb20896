// SPDX-License-Identifier: Apache-2.0
#include "lmkd_replaced.h"

#include <string.h>

#include "boot_note.h"
#include "exit_code.h"
#include "lmkd_service.h"

#define NOTE   "lmkd-stopped"
#define SILENT "lmkd-silent"

int lmkd_replaced_note(const char *dir)
{
	boot_note_forget(dir, SILENT);
	return boot_note_write(dir, NOTE, "");
}

bool lmkd_replaced(const char *dir)
{
	char nothing[8];

	return boot_note_read(dir, NOTE, nothing, sizeof(nothing));
}

void lmkd_replaced_forget(const char *dir)
{
	boot_note_forget(dir, SILENT);
	boot_note_forget(dir, NOTE);
}

bool lmkd_silent(const char *dir)
{
	char nothing[8];

	return lmkd_replaced(dir) && boot_note_read(dir, SILENT, nothing, sizeof(nothing));
}

/* Said when the count is a power of two: it may be asked for days. */
static void note_silent(const char *dir, int why)
{
	static unsigned int count;
	int error = lmkd_silent(dir) ? 0 : boot_note_write(dir, SILENT, "");

	count++;
	if (count_is_logged(count))
		log_line("lmkd: no answer on " LMKD_SOCKET ", %u times so far: %s", count,
			 strerror(-why));
	if (error)
		log_line("lmkd: %s/" SILENT ": %s", dir, strerror(-error));
}

int lmkd_restore(const char *dir, __u64 patience_ns, __u64 *answered_ns)
{
	int error, start_error;

	*answered_ns = 0;
	if (!lmkd_replaced(dir))
		return 0;
	start_error = lmkd_service_start();
	if (start_error)
		log_line("lmkd: setprop ctl.start lmkd: %s", strerror(-start_error));
	/* Asked all the same: somebody else may have started it. */
	error = lmkd_service_wait(patience_ns, answered_ns);
	if (error) {
		note_silent(dir, error);
		return start_error ? start_error : error;
	}
	lmkd_replaced_forget(dir);
	return 0;
}
