/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file DIR/NAME that counts in the boot in which it was written: what was stopped for a session
 * comes back by itself in the next. Its first line is the boot id; a text may follow.
 */
#ifndef LMK_AGENT_BOOT_NOTE_H
#define LMK_AGENT_BOOT_NOTE_H

#include <stdbool.h>
#include <stddef.h>

/* 0 or -errno. */
int boot_note_write(const char *dir, const char *name, const char *text);
/*
 * Is there one, of this boot? `text`: what follows its first line. One of an earlier boot is
 * removed; one that does not say which counts: rather once too often started than never.
 */
bool boot_note_read(const char *dir, const char *name, char *text, size_t size);
void boot_note_forget(const char *dir, const char *name);

#endif
