/* SPDX-License-Identifier: Apache-2.0 */
/* bpf(2) for this folder: who uses it may have libbpf, or not. */
#ifndef LMK_ASSIST_BPF_CALL_H
#define LMK_ASSIST_BPF_CALL_H

#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lmk/abi.h"

/* What the command gives, or -errno. */
static inline int bpf_call(enum bpf_cmd command, union bpf_attr *attr)
{
	long result = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return result < 0 ? -errno : (int)result;
}

/* Runs the SYSCALL program `program`, which leaves its answer in `call`. 0 or -errno. */
static inline int bpf_call_program(int program, struct lmk_call *call)
{
	union bpf_attr attr = {.test = {.prog_fd = (__u32)program,
					.ctx_in = (__u64)(unsigned long)call,
					.ctx_size_in = sizeof(*call)}};

	return bpf_call(BPF_PROG_TEST_RUN, &attr);
}

#endif
