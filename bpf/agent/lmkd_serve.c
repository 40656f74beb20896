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

void lmkd_begin(struct agent *agent)
{
	lmkd_server_begin(&lmkd_server, &agent->shared->lmkd_missed);
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

/* Also while the socket cannot be served yet; not once it is lmkd's again. */
static bool in_its_place(const struct agent *agent)
{
	return agent->shared->lmkd_socket[0] && (agent->lmkd || !agent->give_back);
}

void lmkd_tell(struct agent *agent, const struct kill *kill)
{
	char name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;

	if (!in_its_place(agent) || !lmkd_report(kill, &killed, name))
		return;
	lmkd_server_killed(&lmkd_server, &killed);
	lmkd_leave_traces(kill, &killed);
}

void lmkd_tell_end(const struct agent *agent, const struct kill *kill)
{
	if (in_its_place(agent) && !kill->event.dry_run && !kill->event.kill_result)
		lmkd_trace_end(kill);
}

void lmkd_keep(struct shared *shared, const struct kill *kill)
{
	char name[LMKD_NAME_MAX + 1];
	struct lmkd_killed killed;

	if (shared->lmkd_socket[0] && !kill->told && lmkd_report(kill, &killed, name))
		lmkd_missed_add(&shared->lmkd_missed, &killed, LMKD_WAITS_FOR_ALL);
}

void lmkd_leave(struct agent *agent)
{
	if (!agent->lmkd)
		return;
	lmkd_server_close(agent->lmkd);
	agent->lmkd = NULL;
}
