// SPDX-License-Identifier: Apache-2.0
#include "ksyms.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/libbpf.h>

/* With the zero byte before and after: in the symbol names, and in BTF's strings. */
static const char *const variables_read[] = {"\0runqueues", "\0system_group_pcpu"};

static char *read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "re");
	char *bytes = NULL;
	struct stat stat;

	if (!file)
		return NULL;
	if (!fstat(fileno(file), &stat)) {
		*size = (size_t)stat.st_size;
		bytes = malloc(*size + 1);
	}
	if (bytes && fread(bytes, 1, *size, file) != *size) {
		free(bytes);
		bytes = NULL;
		errno = EIO;
	}
	fclose(file);
	return bytes;
}

/* To a name that no variable of the kernel has, and that is still one to BTF. */
static void hide(char *bytes, size_t size, const char *name)
{
	size_t length = strlen(name + 1) + 2;
	char *at = bytes;

	while ((at = memmem(at, size - (size_t)(at - bytes), name, length))) {
		at[1] = 'Z';
		at += length - 1;
	}
}

struct bpf_object *open_handlers(const char *path, bool variables)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "lmk");
	struct bpf_object *object;
	size_t size = 0;
	char *bytes;
	int error;

	if (variables)
		return bpf_object__open_file(path, NULL);
	bytes = read_file(path, &size);
	if (!bytes)
		return NULL;
	for (size_t i = 0; i < sizeof(variables_read) / sizeof(variables_read[0]); i++)
		hide(bytes, size, variables_read[i]);
	object = bpf_object__open_mem(bytes, size, &options);
	error = errno;
	free(bytes); /* libbpf is done with the file when it has opened it */
	errno = error;
	return object;
}
