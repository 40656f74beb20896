// SPDX-License-Identifier: Apache-2.0
#include "boot_note.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "exit_code.h"
#include "process.h"
#include "session_file.h"

#define PATH_BYTES 160
#define NOTE_BYTES 4096

static void note_path(char path[PATH_BYTES], const char *dir, const char *name)
{
	snprintf(path, PATH_BYTES, "%s/%s", dir, name);
}

int boot_note_write(const char *dir, const char *name, const char *text)
{
	char path[PATH_BYTES], boot_id[40], whole[NOTE_BYTES];
	int length, error = read_boot_id(boot_id);

	if (error)
		return error;
	length = snprintf(whole, sizeof(whole), "%s\n%s", boot_id, text);
	if ((size_t)length >= sizeof(whole))
		return -EFBIG;
	note_path(path, dir, name);
	return replace_file(path, whole, (size_t)length);
}

bool boot_note_read(const char *dir, const char *name, char *text, size_t size)
{
	char path[PATH_BYTES], boot_id[40], whole[NOTE_BYTES], *rest = whole, *noted;

	note_path(path, dir, name);
	if (read_small_file(path, whole, sizeof(whole)) < 0)
		return false;
	noted = strsep(&rest, "\n");
	if (noted[0] && !read_boot_id(boot_id) && strcmp(noted, boot_id)) {
		unlink(path);
		return false;
	}
	snprintf(text, size, "%s", rest ? rest : "");
	return true;
}

void boot_note_forget(const char *dir, const char *name)
{
	char path[PATH_BYTES];

	note_path(path, dir, name);
	if (unlink(path) && errno != ENOENT)
		log_line("%s: %s", path, strerror(errno));
}
