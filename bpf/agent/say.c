// SPDX-License-Identifier: Apache-2.0
// What the agent says: records into the spool, and Hello.
#include "agent.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "clock.h"
#include "decide_thread.h"
#include "exit_code.h"
#include "lmkd_serve.h"
#include "names.h"
#include "rules.h"

#define REFUSED_BURST	  8
#define REFUSED_WINDOW_NS (60 * NSEC_PER_SEC)

static void spool(struct agent *agent, const __u8 *payload, size_t length)
{
	int error;

	if (!length) {
		log_line("record: not encoded");
		return;
	}
	error = spool_append(&agent->spool, payload, length);
	if (error)
		log_line("spool: record %" PRIu64 " not written: %s",
			 (uint64_t)agent->spool.next_seq - 1, strerror(-error));
	agent->spooled = true;
}

static bool is_last_word(lmk_v1_Lifecycle_Kind kind)
{
	return kind == lmk_v1_Lifecycle_Kind_DETACHED || kind == lmk_v1_Lifecycle_Kind_LEASE_ENDED;
}

void agent_say(struct agent *agent, lmk_v1_Lifecycle_Kind kind, const struct record_peer *peer,
	       const char *format, ...)
{
	__u8 payload[lmk_v1_Record_size];
	__u64 ring_lost = 0, *lost = NULL;
	va_list arguments;
	char text[160];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (kind == lmk_v1_Lifecycle_Kind_LEFTOVERS) {
		lost = &agent->shared->leftover_ring_lost;
	} else if (is_last_word(kind) && agent->decider) {
		ring_lost = agent_ring_lost(agent);
		lost = &ring_lost;
	}
	spool(agent, payload,
	      record_lifecycle(payload, agent->spool.run, agent->spool.next_seq, kind, peer, lost,
			       text));
}

void agent_say_gaps(struct agent *agent, lmk_v1_Lifecycle_Kind kind, const struct lmkd_gaps *gaps,
		    const char *format, ...)
{
	__u8 payload[lmk_v1_Record_size];
	va_list arguments;
	char text[160];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	spool(agent, payload,
	      record_lmkd(payload, agent->spool.run, agent->spool.next_seq, kind, gaps, text));
}

void agent_refused(struct agent *agent, const struct record_peer *peer, const char *why)
{
	__u64 now_ns = boottime_ns();

	if (now_ns - agent->refused_window_ns >= REFUSED_WINDOW_NS) {
		agent->refused_window_ns = now_ns;
		agent->refused_in_window = 0;
	}
	if (agent->refused_in_window++ >= REFUSED_BURST) {
		agent->refused_unsaid++;
		return;
	}
	if (agent->refused_unsaid)
		agent_say(agent, lmk_v1_Lifecycle_Kind_CLIENT_REFUSED, peer,
			  "%s; %u more before it", why, agent->refused_unsaid);
	else
		agent_say(agent, lmk_v1_Lifecycle_Kind_CLIENT_REFUSED, peer, "%s", why);
	agent->refused_unsaid = 0;
}

__u64 agent_ring_lost(const struct agent *agent)
{
	struct lmk_counters counters;
	__u32 zero = 0;

	if (!agent->decider || bpf_map_get(agent->pins.counters, &zero, &counters))
		return 0;
	return counters.ring_lost;
}

void agent_hello(struct agent *agent, lmk_v1_Hello *hello)
{
	struct shared *shared = agent->shared;
	struct utsname uts = {0};

	uname(&uts);
	memset(hello, 0, sizeof(*hello));
	hello->protocol_version = RECORD_PROTOCOL_VERSION;
	snprintf(hello->build_id, sizeof(hello->build_id), "%s", shared->build_id);
	hello->token_proof.size = sizeof(agent->token_proof);
	memcpy(hello->token_proof.bytes, agent->token_proof, sizeof(agent->token_proof));
	snprintf(hello->device_name, sizeof(hello->device_name), "%.63s",
		 shared->device_name[0] ? shared->device_name : uts.nodename);
	snprintf(hello->abi, sizeof(hello->abi), "%.15s", uts.machine);
	snprintf(hello->kernel_release, sizeof(hello->kernel_release), "%s", uts.release);
	hello->kill_path = (lmk_v1_KillPath)shared->kill_path;
	snprintf(hello->kill_path_why, sizeof(hello->kill_path_why), "%s", shared->kill_path_why);
	snprintf(hello->boot_id, sizeof(hello->boot_id), "%s", agent->session.boot_id);
	hello->run = agent->spool.run;
	hello->boottime_ns = boottime_ns();
	hello->realtime_ns = realtime_ns();
	hello->first_seq = spool_first_seq(&agent->spool, agent->spool.run);
	hello->next_seq = agent->spool.next_seq;
	snprintf(hello->policy_name, sizeof(hello->policy_name), "%s", agent->policy.name);
	hello->dry_run = agent->policy.dry_run;
	hello->carrier = (lmk_v1_Carrier)shared->carrier;
}

static void report_others(struct agent *agent)
{
	__u8 payload[lmk_v1_Record_size];
	struct other *first;
	__u64 now_ns = agent->give_back ? OTHERS_ALL : boottime_ns();

	while ((first = others_first(agent->shared, now_ns))) {
		spool(agent, payload,
		      record_other(payload, agent->spool.run, agent->spool.next_seq, first));
		others_spooled(agent->shared, first);
	}
}

/* That the kill was made by; NULL: another one is in force by now. */
static const lmk_v1_Policy *policy_of(const struct agent *agent, const struct kill *kill)
{
	return kill->event.rules_generation == rules_generation() ? &agent->policy : NULL;
}

static bool is_untold(const struct shared *shared, const struct kill *kill)
{
	__u32 state = atomic_load_explicit(&kill->state, memory_order_acquire);

	(void)shared;
	if (state == KILL_FREE || kill->told)
		return false;
	return state == KILL_DONE || atomic_load_explicit(&kill->named, memory_order_acquire);
}

static bool is_done(const struct shared *shared, const struct kill *kill)
{
	(void)shared;
	return atomic_load_explicit(&kill->state, memory_order_acquire) == KILL_DONE;
}

static void tell(struct agent *agent, struct kill *kill)
{
	/* First: should this agent die now, the next one does not tell it again. */
	kill->told = 1;
	if (kill->event.kill_id != agent->shared->last_kill_id)
		lmkd_tell(agent, kill);
}

/* Over lmkd's socket, in the order they were made, as lmkd does it: when the signal is sent. */
static void tell_kills(struct agent *agent)
{
	struct kill *first;

	while ((first = first_kill(agent->shared, is_untold)))
		tell(agent, first);
}

static void report_own(struct agent *agent)
{
	struct shared *shared = agent->shared;
	__u8 payload[lmk_v1_Record_size];
	struct kill *first;

	while ((first = first_kill(shared, is_done))) {
		/* It has become done since the others were told. */
		if (!first->told)
			tell(agent, first);
		/* A dead agent may have spooled it and not lived to free it. */
		if (first->event.kill_id != shared->last_kill_id) {
			spool(agent, payload,
			      record_kill(payload, agent->spool.run, agent->spool.next_seq, first,
					  policy_of(agent, first)));
			lmkd_tell_end(agent, first);
		}
		shared->last_kill_id = first->event.kill_id;
		/* The next to die are likely these: read their names while they are well. */
		for (__u32 i = 0; i < first->event.n_candidates && i < LMK_CANDIDATES; i++)
			names_read(first->event.candidates[i].pid,
				   process_ticks(first->event.candidates[i].start_ns));
		atomic_store_explicit(&first->state, KILL_FREE, memory_order_release);
	}
}

void agent_report_kills(struct agent *agent)
{
	tell_kills(agent);
	report_own(agent);
	report_others(agent);
}
