// SPDX-License-Identifier: Apache-2.0
#include "file_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_KB 4

static const char *file;
static const volatile unsigned char *pages;
static uint64_t mapped_kb, touched_kb;

void file_pages_of(const char *path)
{
	file = path;
}

int file_pages_map(uint64_t kb)
{
	void *mapped;
	int fd, error = 0;
	off_t end;

	if (mapped_kb)
		(void)munmap((void *)(uintptr_t)pages, mapped_kb * 1024);
	mapped_kb = touched_kb = 0;
	if (!kb)
		return 0;
	if (!file)
		return -ENOENT;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Of a disk, too. */
	end = lseek(fd, 0, SEEK_END);
	if (end < 0) {
		error = -errno;
		goto out;
	}
	/* Beyond its end a touch is a SIGBUS. */
	if ((uint64_t)end < kb * 1024) {
		error = -ENODATA;
		goto out;
	}
	mapped = mmap(NULL, kb * 1024, PROT_READ, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED) {
		error = -errno;
		goto out;
	}
	pages = mapped;
	mapped_kb = kb;
out:
	close(fd);
	return error;
}

void file_pages_touch(uint64_t kb)
{
	if (kb > mapped_kb)
		kb = mapped_kb;
	for (uint64_t done = 0; done < kb; done += PAGE_KB) {
		if (touched_kb >= mapped_kb)
			touched_kb = 0;
		(void)pages[touched_kb * 1024];
		touched_kb += PAGE_KB;
	}
}
