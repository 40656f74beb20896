/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ActivityManager's end of lmkd's socket. Packets are of big-endian int32
 * (AOSP system/memory/lmkd/include/lmkd.h).
 */
#ifndef LMK_BENCH_LMKD_CLIENT_H
#define LMK_BENCH_LMKD_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#define LMKD_WORDS_MAX 13

/* The connection, or -errno. */
int lmkd_connect(const char *path);

/* It blocks while lmkd does not keep up, as ActivityManager's does. 0 or -errno. */
int lmkd_send(int fd, const int32_t *words, size_t count);

#endif
