// SPDX-License-Identifier: Apache-2.0
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "exit_code.h"

size_t varint_put(__u8 *out, __u64 value)
{
	size_t length = 0;

	while (value >= 0x80) {
		out[length++] = (__u8)(value | 0x80);
		value >>= 7;
	}
	out[length++] = (__u8)value;
	return length;
}

size_t varint_get(const __u8 *in, size_t length, __u64 *value)
{
	*value = 0;
	for (size_t i = 0; i < length && i < 10; i++) {
		*value |= (__u64)(in[i] & 0x7f) << (7 * i);
		if (!(in[i] & 0x80))
			return i + 1;
	}
	return 0;
}

void spool_segment_name(const struct segment *segment, char name[40])
{
	snprintf(name, 40, "%06u-%012llu.pb", segment->run, segment->first_seq);
}

static bool parse_segment_name(const char *name, struct segment *segment)
{
	char again[40], *end;

	segment->run = (__u32)strtoul(name, &end, 10);
	if (*end != '-')
		return false;
	segment->first_seq = strtoull(end + 1, &end, 10);
	spool_segment_name(segment, again);
	return segment->run && segment->first_seq && !strcmp(name, again);
}

static int older(const void *left, const void *right)
{
	const struct segment *a = left, *b = right;

	if (a->run != b->run)
		return a->run < b->run ? -1 : 1;
	if (a->first_seq != b->first_seq)
		return a->first_seq < b->first_seq ? -1 : 1;
	return 0;
}

static void drop_oldest(struct spool *spool)
{
	char name[40];

	spool_segment_name(&spool->segments[0], name);
	if (unlinkat(spool->dir_fd, name, 0) && errno != ENOENT)
		log_line("spool: %s not removed: %s", name, strerror(errno));
	spool->total_bytes -= spool->segments[0].bytes;
	spool->count--;
	memmove(spool->segments, spool->segments + 1, spool->count * sizeof(*spool->segments));
	if (!spool->count && spool->write_fd >= 0) {
		close(spool->write_fd);
		spool->write_fd = -1;
	}
}

/* All segments there are, oldest first; when there are too many, the oldest go. */
static int find_segments(struct spool *spool)
{
	struct dirent *entry;
	DIR *dir;
	int fd;

	fd = openat(spool->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	dir = fdopendir(fd); /* allocates: before the agent's loop starts */
	if (!dir) {
		close(fd);
		return -errno;
	}
	while ((entry = readdir(dir))) {
		struct segment found;
		struct stat stat;

		if (!parse_segment_name(entry->d_name, &found) ||
		    fstatat(spool->dir_fd, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW))
			continue;
		found.bytes = (__u64)stat.st_size;
		if (spool->count == SPOOL_SEGMENTS) {
			qsort(spool->segments, spool->count, sizeof(found), older);
			if (older(&found, &spool->segments[0]) < 0) {
				unlinkat(spool->dir_fd, entry->d_name, 0);
				continue;
			}
			drop_oldest(spool);
		}
		spool->segments[spool->count++] = found;
		spool->total_bytes += found.bytes;
	}
	closedir(dir);
	qsort(spool->segments, spool->count, sizeof(*spool->segments), older);
	return 0;
}

/* The spool belongs to one boot: what an earlier one left goes. */
static int keep_boot(struct spool *spool, const char *boot_id)
{
	char known[64] = "";
	ssize_t length;
	int fd;

	fd = openat(spool->dir_fd, "boot_id", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	length = pread(fd, known, sizeof(known) - 1, 0);
	if (length < 0)
		length = 0;
	known[length] = 0;
	if (strcmp(known, boot_id)) {
		while (spool->count)
			drop_oldest(spool);
		/* On a full disk this may fail: then the next start removes once more. */
		if (ftruncate(fd, 0) || pwrite(fd, boot_id, strlen(boot_id), 0) < 0)
			log_line("spool: boot_id not written: %s", strerror(errno));
	}
	close(fd);
	return 0;
}

int spool_open(struct spool *spool, const char *dir, const char *boot_id, __u32 limit_kb)
{
	char path[160];
	int error;

	memset(spool, 0, sizeof(*spool));
	spool->write_fd = -1;
	spool->limit_bytes = (__u64)limit_kb * 1024;
	spool->segment_bytes = spool->limit_bytes / 32;
	if (spool->segment_bytes > 1024 * 1024)
		spool->segment_bytes = 1024 * 1024;
	if (spool->segment_bytes < spool->limit_bytes / (SPOOL_SEGMENTS - 2))
		spool->segment_bytes = spool->limit_bytes / (SPOOL_SEGMENTS - 2);
	snprintf(path, sizeof(path), "%s/spool", dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	spool->dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (spool->dir_fd < 0)
		return -errno;
	error = find_segments(spool);
	if (!error)
		error = keep_boot(spool, boot_id);
	if (error) {
		spool_close(spool);
		return error;
	}
	while (spool->count && spool->total_bytes > spool->limit_bytes)
		drop_oldest(spool);
	spool->next_seq = 1;
	spool->run = spool->count ? spool->segments[spool->count - 1].run : 0;
	return 0;
}

int spool_begin_run(struct spool *spool, __u32 last_run)
{
	if (spool->write_fd >= 0)
		close(spool->write_fd);
	spool->write_fd = -1;
	if (spool->run < last_run)
		spool->run = last_run;
	spool->run++;
	spool->next_seq = 1;
	return 0;
}

static int begin_segment(struct spool *spool)
{
	struct segment segment = {.run = spool->run, .first_seq = spool->next_seq};
	char name[40];
	int fd;

	if (spool->write_fd >= 0)
		close(spool->write_fd);
	spool->write_fd = -1;
	spool_segment_name(&segment, name);
	fd = openat(spool->dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
		    0600);
	if (fd < 0)
		return -errno;
	spool->write_fd = fd;
	if (spool->count == SPOOL_SEGMENTS)
		drop_oldest(spool);
	spool->segments[spool->count++] = segment;
	return 0;
}

static int write_record(struct spool *spool, const __u8 *record, size_t length)
{
	struct segment *segment;
	ssize_t written;
	int error;

	if (spool->write_fd < 0 || !spool->count ||
	    spool->segments[spool->count - 1].bytes + length > spool->segment_bytes) {
		error = begin_segment(spool);
		if (error)
			return error;
	}
	segment = &spool->segments[spool->count - 1];
	written = write(spool->write_fd, record, length);
	if (written == (ssize_t)length) {
		segment->bytes += length;
		spool->total_bytes += length;
		return 0;
	}
	error = written < 0 ? -errno : -ENOSPC;
	/* Part of a record is no record: the next one must begin where this one did. */
	if (ftruncate(spool->write_fd, (off_t)segment->bytes) ||
	    lseek(spool->write_fd, (off_t)segment->bytes, SEEK_SET) < 0) {
		close(spool->write_fd);
		spool->write_fd = -1; /* the reader skips the torn tail */
	}
	return error;
}

int spool_append(struct spool *spool, const void *payload, size_t length)
{
	static __u8 record[SPOOL_RECORD_MAX + SPOOL_OVERHEAD_MAX];
	__u8 *framed = record + SPOOL_CRC_BYTES;
	size_t whole;
	__u32 crc;
	int error;

	if (length > SPOOL_RECORD_MAX)
		return -EMSGSIZE;
	framed[0] = SPOOL_RECORD_TAG;
	whole = SPOOL_CRC_BYTES + 1 + varint_put(framed + 1, length);
	memcpy(record + whole, payload, length);
	whole += length;
	crc = crc32c(framed, whole - SPOOL_CRC_BYTES);
	record[0] = SPOOL_CRC_TAG;
	for (int i = 0; i < 4; i++)
		record[1 + i] = (__u8)(crc >> (8 * i));
	while (spool->count && spool->total_bytes + whole > spool->limit_bytes)
		drop_oldest(spool);
	do {
		error = write_record(spool, record, whole);
		if (error != -ENOSPC && error != -EDQUOT)
			break;
		/* A full disk: the oldest goes, until the newest fits. */
		if (!spool->count)
			break;
		drop_oldest(spool);
	} while (1);
	if (error)
		spool->unwritten++;
	spool->next_seq++;
	return error;
}

__u64 spool_first_seq(const struct spool *spool, __u32 run)
{
	for (__u32 i = 0; i < spool->count; i++) {
		if (spool->segments[i].run == run)
			return spool->segments[i].first_seq;
	}
	return spool->next_seq;
}

void spool_close(struct spool *spool)
{
	if (spool->write_fd >= 0)
		close(spool->write_fd);
	if (spool->dir_fd >= 0)
		close(spool->dir_fd);
	spool->write_fd = -1;
	spool->dir_fd = -1;
}
