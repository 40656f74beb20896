// SPDX-License-Identifier: Apache-2.0
#include "lmkd_serve.h"

#include "lmkd_report.h"
#include "lmkd_server.h"
#include "lmkd_socket.h"

static struct lmkd_server lmkd_server;

int lmkd_serve(struct agent *agent)
{
	const struct shared *shared = agent->shared;
	int listener = lmkd_listen(shared->lmkd_socket), error;

	if (listener < 0)
		return listener;
	/* Properties are no business of ours, and what handlers need is there before boot ends. */
	error = lmkd_server_open(&lmkd_server, agent->epoll_fd, listener, NULL);
	if (error) {
		lmkd_server_close(&lmkd_server);
		return error;
	}
	lmkd_server.short_killed = shared->lmkd_short_killed;
	agent->lmkd = &lmkd_server;
	return 0;
}

void lmkd_tell(struct agent *agent, const struct kill *kill)
{
	char name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;

	if (agent->lmkd && lmkd_report(kill, &killed, name))
		lmkd_server_killed(agent->lmkd, &killed);
}

void lmkd_leave(struct agent *agent)
{
	if (!agent->lmkd)
		return;
	lmkd_server_close(agent->lmkd);
	agent->lmkd = NULL;
}
