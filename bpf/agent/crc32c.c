// SPDX-License-Identifier: Apache-2.0
#include "crc32c.h"

#define POLYNOMIAL 0x82f63b78u /* reflected */

/* Four bytes at a time (slicing): a byte at a time took a third of the spool's read time. */
static __u32 table[4][256];

static void fill_table(void)
{
	for (__u32 i = 0; i < 256; i++) {
		__u32 crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? (crc >> 1) ^ POLYNOMIAL : crc >> 1;
		table[0][i] = crc;
	}
	for (__u32 i = 0; i < 256; i++) {
		for (int slice = 1; slice < 4; slice++) {
			__u32 before = table[slice - 1][i];

			table[slice][i] = (before >> 8) ^ table[0][before & 0xff];
		}
	}
}

__u32 crc32c(const void *data, size_t length)
{
	const __u8 *byte = data;
	__u32 crc = ~0u;

	if (!table[0][1])
		fill_table();
	for (; length >= 4; length -= 4, byte += 4) {
		crc ^= (__u32)byte[0] | (__u32)byte[1] << 8 | (__u32)byte[2] << 16 |
		       (__u32)byte[3] << 24;
		crc = table[3][crc & 0xff] ^ table[2][(crc >> 8) & 0xff] ^
		      table[1][(crc >> 16) & 0xff] ^ table[0][crc >> 24];
	}
	for (; length; length--, byte++)
		crc = (crc >> 8) ^ table[0][(crc ^ *byte) & 0xff];
	return ~crc;
}
