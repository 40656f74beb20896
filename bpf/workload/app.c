// SPDX-License-Identifier: Apache-2.0
#include "app.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory.h"

#define APP_SOCKET    3
#define STEP_KB	      1024
#define GROW_TICK_MS  10
#define TOUCH_TICK_MS 100
#define ANSWER_NS     200000000u

/* The parent holds the only other end: nobody left to tell is a reason to end. */
static void answer(enum app_state state, int error)
{
	struct app_answer text = {.state = state, .error = error, .kb = memory_kb()};

	if (send(APP_SOCKET, &text, sizeof(text), MSG_NOSIGNAL) != sizeof(text))
		_exit(1);
}

static int become(const struct app *app, int argc, char **argv)
{
	int error;

	set_name(argc, argv, app->name);
	error = set_adj(app->adj);
	if (!error)
		error = set_uid(app->uid);
	/* After set_uid: a change of credentials clears it. */
	if (!error && prctl(PR_SET_PDEATHSIG, SIGKILL))
		error = -errno;
	return error;
}

/* No file of the parent's stays open here: its stdout ends when it ends. */
static void keep_socket_only(int socket)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; null >= 0 && fd < 3; fd++)
		(void)dup2(null, fd);
	if (socket != APP_SOCKET)
		(void)dup2(socket, APP_SOCKET);
	/* (in v5.9); before, the files stay open and only the end of the parent is missed. */
	(void)syscall(SYS_close_range, APP_SOCKET + 1, ~0u, 0);
}

static void grow_and_touch(const struct app *app)
{
	struct app_order order = {0};
	uint64_t begin_ns = 0, begin_kb = 0, answered_ns = 0, touched_ns = 0, due_kb = 0;
	int growing = 0;

	for (;;) {
		struct pollfd in = {.fd = APP_SOCKET, .events = POLLIN};
		int timeout_ms = app->touch_ms ? TOUCH_TICK_MS : -1;

		if (growing)
			timeout_ms = order.rate_kb_per_s && due_kb < STEP_KB ? GROW_TICK_MS : 0;
		if (poll(&in, 1, timeout_ms) > 0) {
			if (recv(APP_SOCKET, &order, sizeof(order), 0) != sizeof(order))
				_exit(0);
			begin_ns = answered_ns = boottime_ns();
			begin_kb = memory_kb();
			growing = order.to_kb > begin_kb;
			memory_shrink(order.to_kb);
			if (!growing)
				answer(APP_DONE, 0);
		}
		if (growing) {
			int error;

			due_kb = growth_due_kb(order.rate_kb_per_s, begin_ns,
					       memory_kb() - begin_kb, STEP_KB);
			if (due_kb > order.to_kb - memory_kb())
				due_kb = order.to_kb - memory_kb();
			error = memory_grow(due_kb);
			growing = !error && memory_kb() < order.to_kb;
			if (error) {
				answer(APP_FAILED, error);
			} else if (!growing) {
				answer(APP_DONE, 0);
			} else if (boottime_ns() - answered_ns >= ANSWER_NS) {
				answered_ns = boottime_ns();
				answer(APP_GROWING, 0);
			}
		}
		if (app->touch_ms &&
		    boottime_ns() - touched_ns >= (uint64_t)TOUCH_TICK_MS * 1000000) {
			touched_ns = boottime_ns();
			memory_touch(memory_kb() * TOUCH_TICK_MS / app->touch_ms);
		}
	}
}

void run_app(const struct app *app, int socket, int argc, char **argv)
{
	int error;

	keep_socket_only(socket);
	error = become(app, argc, argv);
	if (error) {
		answer(APP_FAILED, error);
		_exit(1);
	}
	answer(APP_BECAME, 0);
	memory_set_compressible(app->compressible_pct);
	grow_and_touch(app);
	_exit(0);
}
