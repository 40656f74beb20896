/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of a file, mapped and read round and round: code and resources, as an app has them.
 * The kernel may drop them at any time and reads them again when they are touched.
 */
#ifndef LMK_WORKLOAD_FILE_PAGES_H
#define LMK_WORKLOAD_FILE_PAGES_H

#include <stdint.h>

/* Which file. `path` is kept. */
void file_pages_of(const char *path);

/* Have the first `kb` of it mapped; 0 or -errno (-ENODATA: it is shorter, -ENOENT: no file). */
int file_pages_map(uint64_t kb);

/* Read the next `kb` of what is mapped. */
void file_pages_touch(uint64_t kb);

#endif
