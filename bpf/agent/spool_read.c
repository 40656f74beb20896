// SPDX-License-Identifier: Apache-2.0
#include "spool_read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "exit_code.h"
#include "record.h"

/* One block for all clients: only one is served at a time. */
static __u8 block[32 * 1024];

void spool_reader_init(struct spool_reader *reader, __u32 run, __u64 seq)
{
	memset(reader, 0, sizeof(*reader));
	reader->fd = -1;
	reader->run = run;
	reader->seq = seq;
}

void spool_reader_close(struct spool_reader *reader)
{
	if (reader->fd >= 0)
		close(reader->fd);
	reader->fd = -1;
}

/* The segment that holds the reader's next record, or the first one after it; count: none. */
static __u32 wanted_segment(const struct spool *spool, const struct spool_reader *reader)
{
	__u32 found = spool->count;

	for (__u32 i = spool->count; i-- > 0;) {
		const struct segment *segment = &spool->segments[i];

		if (segment->run < reader->run)
			break;
		found = i;
		if (segment->run == reader->run && segment->first_seq <= reader->seq)
			break;
	}
	return found;
}

static __u32 open_segment(const struct spool *spool, const struct spool_reader *reader)
{
	for (__u32 i = 0; i < spool->count; i++) {
		if (spool->segments[i].run == reader->open_run &&
		    spool->segments[i].first_seq == reader->open_first)
			return i;
	}
	return spool->count;
}

static size_t put_lost(__u8 *out, lmk_v1_Lost_Where where, __u32 run, __u64 from, __u64 count)
{
	__u8 payload[lmk_v1_Record_size];
	size_t length = record_lost(payload, where, run, from, count);

	return record_frame(out, payload, length);
}

/*
 * Opens segment `index` and says what is missing before it; `in_order`: the one before was
 * read to its end. Returns bytes of Lost records.
 */
static size_t enter_segment(const struct spool *spool, struct spool_reader *reader, __u32 index,
			    bool in_order, __u8 *out)
{
	const struct segment *segment = &spool->segments[index];
	lmk_v1_Lost_Where where =
		reader->corrupt ? lmk_v1_Lost_Where_CORRUPT : lmk_v1_Lost_Where_SPOOL;
	size_t length = 0;
	char name[40];

	spool_reader_close(reader);
	reader->open_run = segment->run;
	reader->open_first = segment->first_seq;
	reader->offset = 0;
	if (segment->run > reader->run) {
		/* How many records that run had more is not known: count 0 says so. */
		if (reader->corrupt || !in_order)
			length += put_lost(out, where, reader->run, reader->seq, 0);
		reader->run = segment->run;
		reader->seq = 1;
	}
	if (segment->first_seq > reader->seq) {
		length += put_lost(out + length, where, reader->run, reader->seq,
				   segment->first_seq - reader->seq);
		reader->seq = segment->first_seq;
	}
	reader->corrupt = false;
	spool_segment_name(segment, name);
	reader->fd = openat(spool->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (reader->fd < 0)
		log_line("spool: %s: %s", name, strerror(errno));
	return length;
}

/*
 * The record at `at`: its framed bytes (`*framed`, the return value's length) and sequence
 * number. 0: not a whole, sound record.
 */
static size_t sound_record(const __u8 *at, size_t have, const __u8 **framed, __u64 *seq,
			   bool *incomplete)
{
	size_t head, whole;
	__u64 length;
	__u32 crc;

	*incomplete = true;
	if (have && at[0] != SPOOL_CRC_TAG) {
		*incomplete = false;
		return 0;
	}
	if (have < SPOOL_CRC_BYTES + 2)
		return 0;
	*incomplete = false;
	*framed = at + SPOOL_CRC_BYTES;
	if ((*framed)[0] != SPOOL_RECORD_TAG)
		return 0;
	head = varint_get(*framed + 1, have - SPOOL_CRC_BYTES - 1, &length);
	if (!head) {
		*incomplete = have < SPOOL_OVERHEAD_MAX;
		return 0;
	}
	if (length > SPOOL_RECORD_MAX)
		return 0;
	whole = 1 + head + (size_t)length;
	if (SPOOL_CRC_BYTES + whole > have) {
		*incomplete = true;
		return 0;
	}
	crc = (__u32)at[1] | (__u32)at[2] << 8 | (__u32)at[3] << 16 | (__u32)at[4] << 24;
	if (crc32c(*framed, whole) != crc)
		return 0;
	/* seq is field 1, and fields are written in order. */
	if ((*framed)[1 + head] != 0x08 || !varint_get(*framed + 2 + head, (size_t)length - 1, seq))
		return 0;
	return whole;
}

/* Records of the open segment into `out`. */
static size_t read_open(const struct spool *spool, struct spool_reader *reader, __u32 index,
			__u8 *out, size_t size)
{
	__u64 end = spool->segments[index].bytes;
	size_t length = 0;

	while (reader->fd >= 0 && reader->offset < end) {
		size_t want = end - reader->offset < sizeof(block) ? (size_t)(end - reader->offset)
								   : sizeof(block);
		ssize_t got = pread(reader->fd, block, want, (off_t)reader->offset);
		bool last = got >= 0 && (size_t)got < sizeof(block);
		size_t at = 0;

		if (got <= 0) {
			if (got < 0)
				log_line("spool: read: %s", strerror(errno));
			/* Shorter than it was: what is missing is found by the next number. */
			reader->corrupt = true;
			reader->offset = end;
			break;
		}
		while (at < (size_t)got) {
			const __u8 *framed;
			bool incomplete;
			__u64 seq;
			size_t whole = sound_record(block + at, (size_t)got - at, &framed, &seq,
						    &incomplete);

			if (!whole) {
				if (incomplete && !last && at)
					break; /* the rest is in the next block */
				reader->corrupt = true;
				at++;
				continue;
			}
			if (seq < reader->seq) { /* before what was asked for */
				at += SPOOL_CRC_BYTES + whole;
				reader->corrupt = false;
				continue;
			}
			if (length + whole + RECORD_FRAMED_MAX > size) {
				reader->offset += at;
				return length;
			}
			if (seq > reader->seq)
				length += put_lost(out + length,
						   reader->corrupt ? lmk_v1_Lost_Where_CORRUPT
								   : lmk_v1_Lost_Where_SPOOL,
						   reader->run, reader->seq, seq - reader->seq);
			memcpy(out + length, framed, whole);
			length += whole;
			at += SPOOL_CRC_BYTES + whole;
			reader->seq = seq + 1;
			reader->corrupt = false;
		}
		reader->offset += at;
	}
	return length;
}

size_t spool_read(const struct spool *spool, struct spool_reader *reader, __u8 *out, size_t size)
{
	size_t length = 0;

	while (size - length >= 4 * RECORD_FRAMED_MAX) {
		__u32 index = open_segment(spool, reader);
		size_t got = 0;

		if (reader->open_run && index < spool->count) {
			got = read_open(spool, reader, index, out + length, size - length);
			length += got;
			if (reader->offset < spool->segments[index].bytes)
				break; /* `out` is full */
			if (index + 1 == spool->count)
				break; /* the newest: more may come */
			length += enter_segment(spool, reader, index + 1, true, out + length);
			continue;
		}
		/* Nothing open yet, or what was open has been dropped. */
		index = wanted_segment(spool, reader);
		if (index == spool->count)
			break;
		length += enter_segment(spool, reader, index, false, out + length);
	}
	return length;
}
