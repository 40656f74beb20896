// SPDX-License-Identifier: Apache-2.0
// Android's init language, as much of it as rc files of killers use:
//
//     service NAME PATH [ARGUMENT…]
//         class NAME, user NAME, group NAME…, seclabel LABEL, oom_score_adjust N, disabled,
//         oneshot, critical, stdio_to_kmsg, socket NAME seqpacket[+passcred] MODE USER GROUP,
//         gentle
//     on EVENT | property:NAME=VALUE [&& property:NAME=VALUE…]
//         COMMAND (those of action.c)
//
// A class and a label change nothing here: everything is started at boot, and no policy is loaded.
// `gentle` is this program's own word.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services.h"

#define PASSWD "/etc/passwd"
#define GROUP  "/etc/group"

struct service services[SERVICES_MAX];
unsigned int services_count;
struct action actions[ACTIONS_MAX];
unsigned int actions_count;

/* Where reading is. */
struct place {
	const char *path;
	unsigned int line;
	struct service *service;
	struct action *action; /* neither: lines belong to what was not understood */
};

static void refuse(const struct place *at, const struct words *words, const char *why)
{
	log_event("%s:%u: %s: %s%s%s", at->path, at->line, why, words->word[0],
		  words->count > 1 ? " " : "", words->count > 1 ? words->word[1] : "");
}

struct service *service_find(const char *name)
{
	for (unsigned int i = 0; i < services_count; i++)
		if (!strcmp(services[i].name, name))
			return &services[i];
	return NULL;
}

long id_of(const char *file, const char *name)
{
	char line[256], *end;
	long id = strtol(name, &end, 10);
	FILE *stream;

	if (name[0] && !*end)
		return id;
	id = -1;
	stream = fopen(file, "re");
	while (stream && id < 0 && fgets(line, sizeof(line), stream)) {
		size_t length = strlen(name);

		if (!strncmp(line, name, length) && !strncmp(line + length, ":x:", 3))
			id = strtol(line + length + 3, NULL, 10);
	}
	if (stream)
		fclose(stream);
	return id;
}

/* Splits text; quotes hold words together, '#' begins a comment. false: too many. */
static bool split(struct words *words)
{
	char *at = words->text;

	words->count = 0;
	for (;;) {
		char *to = at + strspn(at, " \t\n");
		bool quoted = false;

		at = to;
		if (!*at || *at == '#')
			break;
		if (words->count == WORDS_MAX)
			return false;
		words->word[words->count++] = at;
		for (; *at && (quoted || !strchr(" \t\n", *at)); at++) {
			if (*at == '"')
				quoted = !quoted;
			else
				*to++ = *at;
		}
		if (*at)
			at++;
		*to = 0;
	}
	words->word[words->count] = NULL;
	return true;
}

/* A line with those that a backslash makes part of it. false: the file is over, or it is too long.
 */
static bool read_line(FILE *file, struct place *at, struct words *words)
{
	size_t length = 0;

	for (;;) {
		if (length + 1 >= sizeof(words->text) ||
		    !fgets(words->text + length, (int)(sizeof(words->text) - length), file))
			return length > 0;
		at->line++;
		length += strlen(words->text + length);
		if (length < 2 || strcmp(words->text + length - 2, "\\\n"))
			return true;
		length -= 2;
	}
}

static bool take_socket(struct service *service, const struct words *words)
{
	long uid, gid;

	if (words->count != 6 || strncmp(words->word[2], "seqpacket", 9) ||
	    strlen(words->word[1]) >= SERVICE_NAME || strchr(words->word[1], '/'))
		return false;
	uid = id_of(PASSWD, words->word[4]);
	gid = id_of(GROUP, words->word[5]);
	if (uid < 0 || gid < 0)
		return false;
	strcpy(service->socket, words->word[1]);
	service->socket_mode = (mode_t)strtol(words->word[3], NULL, 8);
	service->socket_uid = (uid_t)uid;
	service->socket_gid = (gid_t)gid;
	return true;
}

static bool take_groups(struct service *service, const struct words *words)
{
	struct identity *identity = &service->identity;

	if (words->count < 2 || words->count - 1 > GROUPS_MAX)
		return false;
	identity->groups_count = 0;
	for (int i = 1; i < words->count; i++) {
		long gid = id_of(GROUP, words->word[i]);

		if (gid < 0)
			return false;
		identity->groups[identity->groups_count++] = (gid_t)gid;
	}
	return true;
}

static bool take_flag(struct service *service, const char *word)
{
	if (!strcmp(word, "critical"))
		service->critical = true;
	else if (!strcmp(word, "disabled"))
		service->disabled = true;
	else if (!strcmp(word, "oneshot"))
		service->oneshot = true;
	else if (!strcmp(word, "stdio_to_kmsg"))
		service->stdio_to_kmsg = true;
	else if (!strcmp(word, "gentle"))
		service->gentle = true;
	else
		return false;
	return true;
}

static bool take_option(struct service *service, const struct words *words)
{
	const char *name = words->word[0], *value = words->word[1];

	if (!strcmp(name, "socket"))
		return take_socket(service, words);
	if (!strcmp(name, "group"))
		return take_groups(service, words);
	if (words->count == 1)
		return take_flag(service, name);
	if (!strcmp(name, "user")) {
		long uid = id_of(PASSWD, value);

		service->identity.uid = (uid_t)uid;
		return uid >= 0;
	}
	if (!strcmp(name, "oom_score_adjust")) {
		service->oom_score_adj = atoi(value);
		return true;
	}
	return !strcmp(name, "class") || !strcmp(name, "seclabel");
}

static struct service *begin_service(const struct place *at, const struct words *words)
{
	struct service *service = &services[services_count];
	char *to = service->command.text;

	if (words->count < 3 || strlen(words->word[1]) >= SERVICE_NAME ||
	    service_find(words->word[1])) {
		refuse(at, words, "not a service, or there is one of that name");
		return NULL;
	}
	if (services_count == SERVICES_MAX) {
		refuse(at, words, "too many services");
		return NULL;
	}
	memset(service, 0, sizeof(*service));
	service->pidfd = -1;
	service->oom_score_adj = -1000; /* init's own, which it inherits */
	strcpy(service->name, words->word[1]);
	for (int i = 2; i < words->count; i++) {
		service->command.word[service->command.count++] = to;
		to = stpcpy(to, words->word[i]) + 1;
	}
	services_count++;
	return service;
}

static bool add_condition(struct action *action, const char *word)
{
	const char *text = word + strlen("property:"), *value = strchr(text, '=');
	struct condition *condition = &action->conditions[action->conditions_count];

	if (action->conditions_count == CONDITIONS_MAX || !value || value - text >= PROPERTY_NAME ||
	    strlen(value + 1) >= PROPERTY_VALUE)
		return false;
	snprintf(condition->name, PROPERTY_NAME, "%.*s", (int)(value - text), text);
	strcpy(condition->value, value + 1);
	action->conditions_count++;
	return true;
}

static struct action *begin_action(const struct place *at, const struct words *words)
{
	struct action *action = &actions[actions_count];

	if (words->count < 2 || actions_count == ACTIONS_MAX) {
		refuse(at, words, "no trigger, or too many actions");
		return NULL;
	}
	memset(action, 0, sizeof(*action));
	for (int i = 1; i < words->count; i++) {
		const char *word = words->word[i];
		bool taken;

		if (i % 2 == 0) {
			taken = !strcmp(word, "&&") && i + 1 < words->count;
		} else if (!strncmp(word, "property:", strlen("property:"))) {
			taken = add_condition(action, word);
		} else {
			taken = !action->event[0] && strlen(word) < SERVICE_NAME;
			if (taken)
				strcpy(action->event, word);
		}
		if (!taken) {
			refuse(at, words, "not a trigger");
			return NULL;
		}
	}
	actions_count++;
	return action;
}

static void add_command(const struct place *at, const struct words *words)
{
	struct action *action = at->action;
	struct words *command = &action->commands[action->commands_count];
	char *to = command->text;

	if (!command_is_known(words)) {
		refuse(at, words, "not understood");
		return;
	}
	if (action->commands_count == COMMANDS_MAX) {
		refuse(at, words, "too many commands");
		return;
	}
	command->count = 0;
	for (int i = 0; i < words->count; i++) {
		command->word[command->count++] = to;
		to = stpcpy(to, words->word[i]) + 1;
	}
	command->word[command->count] = NULL;
	action->commands_count++;
}

static void take_line(struct place *at, const struct words *words)
{
	const char *first = words->word[0];

	if (!strcmp(first, "service") || !strcmp(first, "on") || !strcmp(first, "import")) {
		at->service = NULL;
		at->action = NULL;
		if (!strcmp(first, "service"))
			at->service = begin_service(at, words);
		else if (!strcmp(first, "on"))
			at->action = begin_action(at, words);
		else
			refuse(at, words, "not understood");
	} else if (at->service) {
		if (!take_option(at->service, words))
			refuse(at, words, "not understood");
	} else if (at->action) {
		add_command(at, words);
	} else {
		refuse(at, words, "of nothing that was understood");
	}
}

static void read_file(const char *path)
{
	static struct words words;
	struct place at = {.path = path};
	FILE *file = fopen(path, "re");

	if (!file) {
		log_event("%s: %s", path, strerror(errno));
		return;
	}
	while (read_line(file, &at, &words)) {
		if (!split(&words))
			log_event("%s:%u: more than %d words", path, at.line, WORDS_MAX);
		else if (words.count)
			take_line(&at, &words);
	}
	fclose(file);
}

static int is_rc(const struct dirent *entry)
{
	const char *end = strrchr(entry->d_name, '.');

	return end && !strcmp(end, ".rc");
}

int rc_read_folder(const char *folder)
{
	struct dirent **found;
	int count = scandir(folder, &found, is_rc, alphasort);

	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		char path[320];

		snprintf(path, sizeof(path), "%s/%s", folder, found[i]->d_name);
		read_file(path);
		free(found[i]);
	}
	free(found);
	return 0;
}
