// SPDX-License-Identifier: Apache-2.0
#include "sha256.h"

#include <string.h>

static const __u32 round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static inline __u32 rotate_right(__u32 word, int bits)
{
	return word >> bits | word << (32 - bits);
}

void sha256(const void *message, size_t length, __u8 digest[SHA256_BYTES])
{
	__u32 hash[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
			 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	__u32 words[64], work[8];
	__u8 block[64] = {0};

	memcpy(block, message, length);
	block[length] = 0x80;
	block[62] = (__u8)(length * 8 >> 8);
	block[63] = (__u8)(length * 8);
	for (int i = 0; i < 16; i++)
		words[i] = (__u32)block[4 * i] << 24 | (__u32)block[4 * i + 1] << 16 |
			   (__u32)block[4 * i + 2] << 8 | (__u32)block[4 * i + 3];
	for (int i = 16; i < 64; i++) {
		__u32 s0 = rotate_right(words[i - 15], 7) ^ rotate_right(words[i - 15], 18) ^
			   words[i - 15] >> 3;
		__u32 s1 = rotate_right(words[i - 2], 17) ^ rotate_right(words[i - 2], 19) ^
			   words[i - 2] >> 10;

		words[i] = words[i - 16] + s0 + words[i - 7] + s1;
	}
	memcpy(work, hash, sizeof(work));
	for (int i = 0; i < 64; i++) {
		__u32 s1 = rotate_right(work[4], 6) ^ rotate_right(work[4], 11) ^
			   rotate_right(work[4], 25);
		__u32 choice = (work[4] & work[5]) ^ (~work[4] & work[6]);
		__u32 t1 = work[7] + s1 + choice + round_constants[i] + words[i];
		__u32 s0 = rotate_right(work[0], 2) ^ rotate_right(work[0], 13) ^
			   rotate_right(work[0], 22);
		__u32 majority = (work[0] & work[1]) ^ (work[0] & work[2]) ^ (work[1] & work[2]);

		memmove(work + 1, work, 7 * sizeof(*work));
		work[4] += t1;
		work[0] = t1 + s0 + majority;
	}
	for (int i = 0; i < 8; i++) {
		hash[i] += work[i];
		digest[4 * i] = (__u8)(hash[i] >> 24);
		digest[4 * i + 1] = (__u8)(hash[i] >> 16);
		digest[4 * i + 2] = (__u8)(hash[i] >> 8);
		digest[4 * i + 3] = (__u8)hash[i];
	}
}
