/* SPDX-License-Identifier: Apache-2.0 */
/* Records of record.proto, encoded. For one thread at a time: the scratch message is static. */
#ifndef LMK_AGENT_RECORD_H
#define LMK_AGENT_RECORD_H

#include <linux/types.h>
#include <stddef.h>

#include "kill.h"
#include "lmk/v1/policy.pb.h"
#include "lmk/v1/record.pb.h"
#include "lmkd_replaced.h"
#include "others.h"

#define RECORD_PROTOCOL_VERSION 1
/* Bytes that hold any record with its tag and length. */
#define RECORD_FRAMED_MAX (lmk_v1_Record_size + 3)

/* Who a client was: for a Lifecycle about a refused one. */
struct record_peer {
	__u32 uid;
	__u32 pid;
};

/* Each returns the bytes of the payload written to `out` (of lmk_v1_Record_size); 0: a bug. */
/* `policy`: that the kill was made by; NULL: it is not known any more. */
size_t record_kill(__u8 *out, __u32 run, __u64 seq, const struct kill *kill,
		   const lmk_v1_Policy *policy);
size_t record_other(__u8 *out, __u32 run, __u64 seq, const struct other *other);
/* `peer` and `ring_lost` may be NULL; `text` is cut to what the message holds. */
size_t record_lifecycle(__u8 *out, __u32 run, __u64 seq, lmk_v1_Lifecycle_Kind kind,
			const struct record_peer *peer, const __u64 *ring_lost, const char *text);
/* The same with gaps: of lmkd's being replaced and restored. */
size_t record_lmkd(__u8 *out, __u32 run, __u64 seq, lmk_v1_Lifecycle_Kind kind,
		   const struct lmkd_gaps *gaps, const char *text);
size_t record_lost(__u8 *out, lmk_v1_Lost_Where where, __u32 run, __u64 from, __u64 count);
size_t record_hello(__u8 *out, const lmk_v1_Hello *hello);
size_t record_heartbeat(__u8 *out, __u32 run, const lmk_v1_Heartbeat *heartbeat);

/* Tag, length, payload: what goes over the wire. `out` holds RECORD_FRAMED_MAX. */
size_t record_frame(__u8 *out, const __u8 *payload, size_t length);

/* The protocol's view of what the handlers saw: also for Status. */
void record_sample(lmk_v1_Sample *out, const struct lmk_sample *sample);
/* `policy`: whose rules process->rule is of; NULL: it is not known. */
void record_process(lmk_v1_Process *out, const struct lmk_process *process, const char *name,
		    const lmk_v1_Policy *policy);
/* Every signal that was measured, beside its limit. Returns how many. */
#define RECORD_SIGNALS 9
pb_size_t record_signals(lmk_v1_Signal out[RECORD_SIGNALS], const struct lmk_sample *sample,
			 const struct lmk_verdict *verdict);

#endif
