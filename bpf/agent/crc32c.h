/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli, RFC 3720 B.4): the checksum of spooled records. */
#ifndef LMK_AGENT_CRC32C_H
#define LMK_AGENT_CRC32C_H

#include <linux/types.h>
#include <stddef.h>

__u32 crc32c(const void *data, size_t length);

#endif
