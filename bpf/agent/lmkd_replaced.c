// SPDX-License-Identifier: Apache-2.0
#include "lmkd_replaced.h"

#include <string.h>

#include "boot_note.h"
#include "exit_code.h"
#include "lmkd_service.h"

#define NOTE "lmkd-stopped"

int lmkd_replaced_note(const char *dir)
{
	return boot_note_write(dir, NOTE, "");
}

bool lmkd_replaced(const char *dir)
{
	char nothing[8];

	return boot_note_read(dir, NOTE, nothing, sizeof(nothing));
}

void lmkd_replaced_forget(const char *dir)
{
	boot_note_forget(dir, NOTE);
}

int lmkd_restore(const char *dir, __u64 *answered_ns)
{
	int error, start_error;

	*answered_ns = 0;
	if (!lmkd_replaced(dir))
		return 0;
	start_error = lmkd_service_start();
	if (start_error)
		log_line("lmkd: setprop ctl.start lmkd: %s", strerror(-start_error));
	/* Asked all the same: somebody else may have started it. */
	error = lmkd_service_wait(answered_ns);
	if (error) {
		log_line("lmkd: no answer on " LMKD_SOCKET ": %s", strerror(-error));
		return start_error ? start_error : error;
	}
	lmkd_replaced_forget(dir);
	return 0;
}
