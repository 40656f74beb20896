// SPDX-License-Identifier: Apache-2.0
#include "lmkd_serve.h"

#include <string.h>

#include "exit_code.h"
#include "lmkd_report.h"
#include "lmkd_server.h"
#include "lmkd_socket.h"
#include "lmkd_traces.h"
#include "property.h"
#include "property_later.h"

static struct lmkd_server lmkd_server;

static void set_later(const char *name, const char *value)
{
	int error = property_set_later(name, value);

	if (error)
		log_line("setprop %s '%s': %s", name, value, strerror(-error));
}

static void say_targets(void *context, const struct lmkd_target *targets, __u32 count)
{
	char value[PROPERTY_BYTES];

	(void)context;
	lmkd_minfree_levels(targets, count, value, sizeof(value));
	set_later("sys.lmk.minfree_levels", value);
}

int lmkd_serve(struct agent *agent)
{
	static const struct lmkd_hooks hooks = {.targets = say_targets};
	const struct shared *shared = agent->shared;
	int listener = lmkd_listen(shared->lmkd_socket), error;

	if (listener < 0)
		return listener;
	/* What handlers need is there before boot ends. */
	error = lmkd_server_open(&lmkd_server, agent->epoll_fd, listener, &hooks);
	if (error) {
		lmkd_server_close(&lmkd_server);
		return error;
	}
	lmkd_server.short_killed = shared->lmkd_short_killed;
	agent->lmkd = &lmkd_server;
	set_later("sys.lmk.reportkills", "1");
	return 0;
}

void lmkd_tell(struct agent *agent, const struct kill *kill)
{
	char name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;

	if (agent->lmkd && lmkd_report(kill, &killed, name))
		lmkd_server_killed(agent->lmkd, &killed);
}

void lmkd_trace(const struct agent *agent, const struct kill *kill)
{
	char name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;

	if (agent->lmkd && lmkd_report(kill, &killed, name))
		lmkd_leave_traces(kill, &killed);
}

void lmkd_leave(struct agent *agent)
{
	if (!agent->lmkd)
		return;
	lmkd_server_close(agent->lmkd);
	agent->lmkd = NULL;
}
