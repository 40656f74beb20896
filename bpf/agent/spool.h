/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records on disk: DIR/spool, bounded, checksummed, oldest dropped first. docs/wire-format.md
 * describes the files; spool_read.h reads them.
 *
 * A segment file is named RUN-FIRSTSEQ.pb and is a `message Stream` with one more field: each
 * record is preceded by field 15, a fixed32 with the CRC-32C of the record's tag, length and
 * payload. So `protoc --decode=lmk.v1.Stream` reads a segment too.
 *
 * One write(2) per record and no fsync: what was written survives the agent, not a power cut.
 * One thread (the agent's main thread) writes and reads.
 */
#ifndef LMK_AGENT_SPOOL_H
#define LMK_AGENT_SPOOL_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#define SPOOL_SEGMENTS	     64
#define SPOOL_RECORD_MAX     4096 /* payload, bytes; the largest record is lmk_v1_Record_size */
#define SPOOL_CRC_TAG	     0x7d /* field 15, fixed32 */
#define SPOOL_RECORD_TAG     0x0a /* field 1, length-delimited */
#define SPOOL_CRC_BYTES	     5	  /* tag and checksum */
#define SPOOL_OVERHEAD_MAX   (SPOOL_CRC_BYTES + 1 + 2)
#define SPOOL_LIMIT_KB	     8192
#define SPOOL_LIMIT_KB_LEAST 64

struct segment {
	__u64 first_seq;
	__u64 bytes;
	__u32 run;
};

struct spool {
	int dir_fd;
	int write_fd; /* the newest segment; -1: none yet in this run */
	__u32 run;
	__u32 count;
	__u64 next_seq;
	__u64 limit_bytes;
	__u64 segment_bytes;
	__u64 total_bytes;
	__u64 unwritten; /* records of this run that no disk space was found for */
	struct segment segments[SPOOL_SEGMENTS]; /* oldest first */
};

/*
 * Opens DIR/spool, made when missing. What another boot left there is removed: its clocks
 * and runs mean nothing now. Then `spool->run` is the newest run there; begin a new one with
 * spool_begin_run(). 0 or -errno.
 */
int spool_open(struct spool *spool, const char *dir, const char *boot_id, __u32 limit_kb);

/* Numbers from 1 again, under the run after both the newest one found and `last_run`. */
int spool_begin_run(struct spool *spool, __u32 last_run);

/*
 * Appends the encoded record that carries seq spool->next_seq and counts next_seq up, also
 * when nothing could be written: the gap is then reported as lost. 0 or -errno.
 */
int spool_append(struct spool *spool, const void *payload, size_t length);

/* Oldest sequence number of `run` that is still there; next_seq when none is. */
__u64 spool_first_seq(const struct spool *spool, __u32 run);

void spool_segment_name(const struct segment *segment, char name[40]);
void spool_close(struct spool *spool);

/* Bytes of the varint, written to `out` (at most 10). */
size_t varint_put(__u8 *out, __u64 value);
/* Bytes taken, 0: not complete within `length`, or over 64 bits. */
size_t varint_get(const __u8 *in, size_t length, __u64 *value);

#endif
