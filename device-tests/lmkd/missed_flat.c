// SPDX-License-Identifier: Apache-2.0
/* lmkd_missed_file.c for ctypes. No logic here. */
#include "clock.h"
#include "lmkd_missed_file.h"

static struct lmkd_missed missed;

void flat_clear(void)
{
	missed = (struct lmkd_missed){0};
}

void flat_add(__s32 pid, const char *name)
{
	struct lmkd_killed killed = {.pid = pid, .name = name, .signalled_ns = boottime_ns()};

	lmkd_missed_add(&missed, &killed, LMKD_WAITS_FOR_ALL);
}

int flat_save(const char *dir)
{
	return lmkd_missed_save(dir, &missed);
}

void flat_load(const char *dir)
{
	lmkd_missed_load(dir, &missed);
}

/* pid of the next one for LMKD_PROCKILL and its name; 0: none. */
__s32 flat_take(const char **name)
{
	const struct lmkd_killed *killed =
		lmkd_missed_take(&missed, LMKD_SUBSCRIBE_KILL, boottime_ns());

	*name = killed ? killed->name : NULL;
	return killed ? killed->pid : 0;
}
