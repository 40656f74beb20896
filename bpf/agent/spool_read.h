/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the spool from any sequence number, for one client. What was asked for and is gone
 * comes out as a Lost record in its place, so a reader that counts finds every number once:
 * as a record, or within a Lost.
 */
#ifndef LMK_AGENT_SPOOL_READ_H
#define LMK_AGENT_SPOOL_READ_H

#include "spool.h"

struct spool_reader {
	int fd;		/* open segment; -1: none */
	__u32 run;	/* of the next record wanted */
	__u64 seq;	/* next record wanted */
	__u32 open_run; /* which segment is open */
	__u64 open_first;
	__u64 offset; /* in it */
	bool corrupt; /* bytes were skipped since the last good record */
};

/* Start at record `seq` of `run`, or at the first one after it that there is. */
void spool_reader_init(struct spool_reader *reader, __u32 run, __u64 seq);

/*
 * Fills `out` with framed records (tag, length, payload) and Lost records, whole ones only.
 * Returns bytes written; 0: nothing more for now.
 */
size_t spool_read(const struct spool *spool, struct spool_reader *reader, __u8 *out, size_t size);

void spool_reader_close(struct spool_reader *reader);

#endif
