// SPDX-License-Identifier: Apache-2.0
// One file for each service, in the words of an .rc file:
//
//     command /system/bin/lmkd --log /run/lmkd.log
//     socket lmkd 0660 1000 1000
//     critical | disabled | gentle
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services.h"

static int take_socket(struct service *service, const char *words)
{
	unsigned int mode, uid, gid;

	if (sscanf(words, "%31s %o %u %u", service->socket, &mode, &uid, &gid) != 4)
		return -1;
	service->socket_mode = (mode_t)mode;
	service->socket_uid = uid;
	service->socket_gid = gid;
	return strchr(service->socket, '/') ? -1 : 0;
}

static int take_command(struct service *service, const char *words)
{
	int count = 0;
	char *rest;

	snprintf(service->command, sizeof(service->command), "%s", words);
	rest = service->command;
	while (count < ARGUMENTS_MAX && (service->arguments[count] = strtok_r(rest, " ", &rest)))
		count++;
	service->arguments[count] = NULL;
	return count ? 0 : -1;
}

static int take_line(struct service *service, char *line)
{
	char *words = strchr(line, ' ');

	if (!line[0] || line[0] == '#')
		return 0;
	if (words)
		*words++ = 0;
	if (!strcmp(line, "command") && words)
		return take_command(service, words);
	if (!strcmp(line, "socket") && words)
		return take_socket(service, words);
	if (words)
		return -1;
	if (!strcmp(line, "critical"))
		service->critical = true;
	else if (!strcmp(line, "disabled"))
		service->disabled = true;
	else if (!strcmp(line, "gentle"))
		service->gentle = true;
	else
		return -1;
	return 0;
}

int service_read(struct service *service, const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	char line[COMMAND_BYTES];
	int error = 0;

	memset(service, 0, sizeof(*service));
	service->pidfd = -1;
	snprintf(service->name, sizeof(service->name), "%s", name);
	while (file && !error && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		error = take_line(service, line);
		if (error)
			fprintf(stderr, "lmk-services: %s: not understood: %s\n", path, line);
	}
	if (!file)
		perror(path);
	else
		fclose(file);
	if (file && !error && !service->arguments[0]) {
		fprintf(stderr, "lmk-services: %s: no command\n", path);
		error = -1;
	}
	return file && !error ? 0 : -1;
}
