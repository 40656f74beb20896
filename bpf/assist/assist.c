// SPDX-License-Identifier: Apache-2.0
#include "assist.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf_call.h"

/* Each candidate may take a walk and a signal, and the walks before: far fewer than this. */
#define STEPS_MAX 64
/* LMK_OP_SIGNALLED must get through: who has the claim keeps it for microseconds. */
#define SETTLE_TRIES 1000

static __u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (__u64)now.tv_sec * 1000000000ULL + (__u64)now.tv_nsec;
}

/* ---- stall ---- */

/* "... avg10=1.23 ..." -> 123; 0 when it is not there. */
static __u32 percent_of(const char *line)
{
	const char *at = strstr(line, "avg10=");
	unsigned int whole = 0, hundredths = 0;

	if (at)
		sscanf(at, "avg10=%u.%2u", &whole, &hundredths);
	return whole * 100 + hundredths;
}

static __u64 total_of(const char *line)
{
	const char *at = strstr(line, "total=");

	return at ? strtoull(at + 6, NULL, 10) : 0;
}

/* The file stays open: its first read allocates. */
static void tell_psi(struct assist *assist, struct lmk_call *call)
{
	char text[256], *full;
	ssize_t got;

	if (assist->psi <= 0)
		return;
	got = pread(assist->psi, text, sizeof(text) - 1, 0);
	if (got <= 0)
		return;
	text[got] = 0;
	full = strstr(text, "full ");
	call->tells_psi = 1;
	call->psi_some_total_us = total_of(text);
	call->psi_full_total_us = full ? total_of(full) : 0;
	call->psi_full_avg10_pct100 = full ? percent_of(full) : 0;
}

void assist_open_psi(struct assist *assist)
{
	if (!assist->psi)
		assist->psi = open("/proc/pressure/memory", O_RDONLY | O_CLOEXEC);
}

/* ---- the walk ---- */

static int open_iterator(const struct assist *assist)
{
	union bpf_attr attr = {.iter_create = {.link_fd = (__u32)assist->walk}};

	return bpf_call(BPF_ITER_CREATE, &attr);
}

/* The kernel allocates its buffer (32 KiB) with the first read; this one takes a byte. */
void assist_prime(struct assist *assist)
{
	ssize_t got;
	char byte;

	if (assist->walk < 0 || assist->iter >= 0)
		return;
	assist->iter = open_iterator(assist);
	if (assist->iter < 0)
		return;
	got = read(assist->iter, &byte, sizeof(byte));
	(void)got; /* without it the walk's own read allocates */
}

/* Reads the iterator to its end: the handlers look at each process. 0 or -errno. */
static int walk(struct assist *assist)
{
	char bytes[16];
	ssize_t got;
	int fd = assist->iter;

	if (fd < 0)
		fd = open_iterator(assist);
	if (fd < 0)
		return fd;
	do {
		got = read(fd, bytes, sizeof(bytes));
	} while (got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)));
	assist->iter = -1; /* it cannot be wound back */
	if (got < 0)
		got = -errno;
	close(fd);
	return (int)got;
}

void assist_close(struct assist *assist)
{
	if (assist->iter >= 0)
		close(assist->iter);
	if (assist->psi > 0)
		close(assist->psi);
	assist->iter = -1;
	assist->psi = 0;
}

/* ---- the signal ---- */

static int signal_pidfd(int pidfd, int signal_number)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal_number, NULL, 0) ? -errno : 0;
}

/*
 * The pid may be another process's by now, so first a descriptor is held, which stays with one
 * process, then the handlers look: is the process with this pid the one they chose, to the
 * nanosecond of its start, and may it still die? It was there before the descriptor was, so a yes
 * means that the descriptor is of it.
 */
static int strike(const struct assist *assist, __s32 pid, __u64 token)
{
	struct lmk_call question = {.op = LMK_OP_CONFIRM, .pid = pid, .token = token};
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), error;

	if (pidfd < 0)
		return -errno;
	error = bpf_call_program(assist->call, &question);
	if (!error)
		error = question.result;
	if (!error)
		error = signal_pidfd(pidfd, SIGKILL);
	close(pidfd);
	return error;
}

static void strike_all(const struct assist *assist, struct lmk_call *call)
{
	call->kill_result = strike(assist, call->victim_pid, call->token);
	call->signalled_ns = now_ns();
	for (__u32 i = 0; !call->kill_result && i < call->n_sharers && i < LMK_SHARERS_MAX; i++)
		strike(assist, call->sharer_pid[i], call->token); /* gone or left: well */
}

/* Tells what came of the signal; a kill that was made is never left untold. */
static int settle(const struct assist *assist, struct lmk_call *call)
{
	int error;

	for (int i = 0; i < SETTLE_TRIES; i++) {
		call->op = LMK_OP_SIGNALLED;
		error = bpf_call_program(assist->call, call);
		if (error || call->outcome != LMK_OUT_CLAIMED || call->kill_result)
			break;
		usleep(1000);
	}
	return error;
}

/* ---- all of it ---- */

static int go_on(struct assist *assist, struct lmk_call *call)
{
	int error = 0;

	for (int i = 0; i < STEPS_MAX && !error; i++) {
		if (call->outcome == LMK_OUT_WALK) {
			error = walk(assist);
			call->op = LMK_OP_WALKED;
			if (!error)
				error = bpf_call_program(assist->call, call);
		} else if (call->outcome == LMK_OUT_PROPOSED) {
			strike_all(assist, call);
			error = settle(assist, call);
		} else {
			break;
		}
	}
	return error;
}

/* "May I signal?", asked of the call that will be used. */
static int try_signal(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), error;

	if (pidfd < 0)
		return -errno;
	error = signal_pidfd(pidfd, 0);
	close(pidfd);
	return error;
}

int assist_run(struct assist *assist, struct lmk_call *call)
{
	__u32 op = call->op;
	int error;

	tell_psi(assist, call);
	error = bpf_call_program(assist->call, call);
	if (error)
		return error;
	if (call->wants_psi)
		assist_open_psi(assist);
	error = go_on(assist, call);
	call->op = op;
	if (!error && op == LMK_OP_SELF_TEST && !call->result)
		call->result = try_signal();
	return error;
}
