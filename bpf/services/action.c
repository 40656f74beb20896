// SPDX-License-Identifier: Apache-2.0
// What an rc file has done when something happens: start, stop, restart, setprop, mkdir,
// exec_background.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "services.h"

#define CHANGES_MAX 64

/* Of properties, in order, with the value that each had: by the time it counts it may be another.
 */
static struct condition changes[CHANGES_MAX];
static unsigned int changes_first, changes_count;
static bool properties_count;

static void do_start(const struct words *command)
{
	struct service *service = service_find(command->word[1]);

	if (!service)
		log_event("start %s: no such service", command->word[1]);
	else
		service_start(service);
}

static void do_stop(const struct words *command)
{
	struct service *service = service_find(command->word[1]);

	if (!service)
		log_event("stop %s: no such service", command->word[1]);
	else
		service_stop(service);
}

static void do_restart(const struct words *command)
{
	do_stop(command);
	do_start(command);
}

static void do_setprop(const struct words *command)
{
	property_set(command->word[1], "%s", command->count > 2 ? command->word[2] : "");
}

/* mkdir PATH [MODE [USER [GROUP]]] [encryption=…]: one that is there gets mode and owner too. */
static void do_mkdir(const struct words *command)
{
	int count = command->count;
	mode_t mode = 0755;
	long uid = 0, gid = 0;

	if (count > 2 && strchr(command->word[count - 1], '='))
		count--;
	if (count > 2)
		mode = (mode_t)strtol(command->word[2], NULL, 8);
	if (count > 3)
		uid = gid = id_of("/etc/passwd", command->word[3]);
	if (count > 4)
		gid = id_of("/etc/group", command->word[4]);
	if (mkdir(command->word[1], mode) && errno != EEXIST)
		log_event("mkdir %s: %s", command->word[1], strerror(errno));
	else if (uid < 0 || gid < 0 || chmod(command->word[1], mode) ||
		 chown(command->word[1], (uid_t)uid, (gid_t)gid))
		log_event("mkdir %s: mode or owner cannot be set", command->word[1]);
}

/* exec_background [SECLABEL [USER [GROUP…]]] -- COMMAND [ARGUMENT…] */
static void do_exec_background(const struct words *command)
{
	struct identity identity = {0};
	int i = strcmp(command->word[1], "--") ? 2 : 1;

	for (; i < command->count && strcmp(command->word[i], "--"); i++) {
		const char *file = i == 2 ? "/etc/passwd" : "/etc/group";
		long id = id_of(file, command->word[i]);

		if (id < 0 || i - 3 >= GROUPS_MAX) {
			log_event("exec_background: %s: not in %s", command->word[i], file);
			return;
		}
		if (i == 2)
			identity.uid = (uid_t)id;
		else
			identity.groups[identity.groups_count++] = (gid_t)id;
	}
	if (i + 1 >= command->count)
		log_event("exec_background: no command after --");
	else
		run_in_background(&command->word[i + 1], &identity);
}

static const struct {
	const char *name;
	void (*carry_out)(const struct words *command);
} commands[] = {
	{"start", do_start},	 {"stop", do_stop},   {"restart", do_restart},
	{"setprop", do_setprop}, {"mkdir", do_mkdir}, {"exec_background", do_exec_background},
};

bool command_is_known(const struct words *command)
{
	/* Properties in words are not expanded. */
	for (int i = 0; i < command->count; i++)
		if (strstr(command->word[i], "${"))
			return false;
	for (unsigned int i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, command->word[0]))
			return command->count > 1;
	return false;
}

static void carry_out(const struct words *command)
{
	for (unsigned int i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i].name, command->word[0]))
			commands[i].carry_out(command);
}

static void run_action(const struct action *action)
{
	for (unsigned int i = 0; i < action->commands_count; i++)
		carry_out(&action->commands[i]);
}

static bool is_value(const struct condition *condition, const char *value)
{
	return !strcmp(condition->value, "*") ? value[0] != 0 : !strcmp(condition->value, value);
}

/* All its conditions; `change` counts with the value that it had then, NULL: none. */
static bool holds(const struct action *action, const struct condition *change)
{
	bool named = !change;

	for (unsigned int i = 0; i < action->conditions_count; i++) {
		const struct condition *condition = &action->conditions[i];
		char value[PROPERTY_VALUE];

		if (change && !strcmp(condition->name, change->name)) {
			named = true;
			if (!is_value(condition, change->value))
				return false;
			continue;
		}
		property_get(condition->name, value);
		if (!is_value(condition, value))
			return false;
	}
	return named;
}

void property_changed(const char *name)
{
	struct condition *change;

	if (!properties_count || strlen(name) >= PROPERTY_NAME)
		return;
	if (changes_count == CHANGES_MAX) {
		log_event("property %s: too many have changed", name);
		return;
	}
	change = &changes[(changes_first + changes_count++) % CHANGES_MAX];
	strcpy(change->name, name);
	property_get(name, change->value);
}

void actions_do(void)
{
	while (changes_count) {
		struct condition change = changes[changes_first];

		changes_first = (changes_first + 1) % CHANGES_MAX;
		changes_count--;
		for (unsigned int i = 0; i < actions_count; i++)
			if (!actions[i].event[0] && holds(&actions[i], &change))
				run_action(&actions[i]);
	}
}

void event_happened(const char *event)
{
	for (unsigned int i = 0; i < actions_count; i++)
		if (!strcmp(actions[i].event, event) && holds(&actions[i], NULL))
			run_action(&actions[i]);
	actions_do();
}

void properties_count_now(void)
{
	properties_count = true;
	for (unsigned int i = 0; i < actions_count; i++)
		if (!actions[i].event[0] && holds(&actions[i], NULL))
			run_action(&actions[i]);
	actions_do();
}
