/* SPDX-License-Identifier: Apache-2.0 */
/* SHA-256 (FIPS 180-4) of a short message: the token's proof in Hello. */
#ifndef LMK_AGENT_SHA256_H
#define LMK_AGENT_SHA256_H

#include <linux/types.h>
#include <stddef.h>

#define SHA256_BYTES	   32
#define SHA256_MESSAGE_MAX 55 /* one block */

/* `length` <= SHA256_MESSAGE_MAX. */
void sha256(const void *message, size_t length, __u8 digest[SHA256_BYTES]);

#endif
