// SPDX-License-Identifier: Apache-2.0
#include "control.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>

#include "exit_code.h"
#include "lease.h"
#include "policy_check.h"
#include "socket.h"
#include "status.h"
#include "swap.h"

/* One request at a time, on one thread. */
static lmk_v1_ControlRequest request;
static lmk_v1_ControlReply reply;

static void put_reply(struct agent *agent, struct client *client)
{
	__u8 bytes[lmk_v1_ControlReply_size];
	pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof(bytes));
	size_t room = sizeof(client->out) - client->out_length;

	if (!pb_encode(&stream, lmk_v1_ControlReply_fields, &reply)) {
		log_line("control: reply not encoded: %s", PB_GET_ERROR(&stream));
		client_drop(agent, client);
		return;
	}
	if (stream.bytes_written + 3 > room) {
		/* Asks faster than it reads. */
		client_drop(agent, client);
		return;
	}
	client->out_length += varint_put(client->out + client->out_length, stream.bytes_written);
	memcpy(client->out + client->out_length, bytes, stream.bytes_written);
	client->out_length += stream.bytes_written;
	if (client_flush(agent, client) && client->closing)
		client_drop(agent, client);
}

static void error_reply(lmk_v1_Error_Code code, const char *message)
{
	reply.which_body = lmk_v1_ControlReply_error_tag;
	reply.body.error.code = code;
	snprintf(reply.body.error.message, sizeof(reply.body.error.message), "%s", message);
}

static void done_reply(void)
{
	reply.which_body = lmk_v1_ControlReply_done_tag;
}

static void set_policy(struct agent *agent, const lmk_v1_SetPolicy *body)
{
	char why[sizeof(reply.body.error.message)];
	int error;

	if (!agent->decider) {
		error_reply(lmk_v1_Error_Code_BAD_REQUEST, "no handlers are attached");
		return;
	}
	if (!body->has_policy) {
		error_reply(lmk_v1_Error_Code_BAD_POLICY, "SetPolicy without a policy");
		return;
	}
	if (!policy_check(&body->policy, why, sizeof(why))) {
		error_reply(lmk_v1_Error_Code_BAD_POLICY, why);
		return;
	}
	if (agent->replacing && body->policy.dry_run) {
		error_reply(lmk_v1_Error_Code_BAD_POLICY,
			    "lmkd is replaced: in a dry run nobody would kill");
		return;
	}
	if (agent->others_stopped && body->policy.dry_run) {
		error_reply(lmk_v1_Error_Code_BAD_POLICY,
			    "the other killer is stopped: in a dry run nobody would kill");
		return;
	}
	error = agent_set_policy(agent, &body->policy);
	if (error) {
		snprintf(why, sizeof(why), "the policy before stays in force: %s",
			 strerror(-error));
		error_reply(lmk_v1_Error_Code_INTERNAL, why);
		return;
	}
	agent_say(agent, lmk_v1_Lifecycle_Kind_POLICY_CHANGED, NULL, "policy %s%s",
		  body->policy.has_name ? body->policy.name : "(no name)",
		  body->policy.dry_run ? ", dry run" : "");
	done_reply();
}

static void request_kill(struct agent *agent, const lmk_v1_RequestKill *body)
{
	struct lmk_call call = {.op = LMK_OP_VENDOR,
				.vendor_reason = body->vendor_reason,
				.vendor_floor = body->min_oom_score_adj};
	int error;

	if (!agent->decider) {
		error_reply(lmk_v1_Error_Code_BAD_REQUEST, "no handlers are attached");
		return;
	}
	if (body->vendor_reason > 999 || body->min_oom_score_adj < -1000 ||
	    body->min_oom_score_adj > 1000) {
		error_reply(lmk_v1_Error_Code_BAD_REQUEST,
			    "vendor_reason is 0..999, min_oom_score_adj -1000..1000");
		return;
	}
	if (body->min_oom_score_adj < 0 && !agent->policy.allow_negative_floor) {
		error_reply(lmk_v1_Error_Code_REFUSED,
			    "min_oom_score_adj below 0 without allow_negative_floor");
		return;
	}
	swap_fill(&call);
	error = bpf_run_whole(&agent->pins, &call);
	if (error) {
		error_reply(lmk_v1_Error_Code_INTERNAL, strerror(-error));
		return;
	}
	reply.which_body = lmk_v1_ControlReply_kill_answer_tag;
	snprintf(reply.body.kill_answer.outcome, sizeof(reply.body.kill_answer.outcome), "%s",
		 status_outcome(call.outcome));
	reply.body.kill_answer.kill_id = call.kill_id;
	reply.body.kill_answer.victim_pid = call.victim_pid;
}

void control_request(struct agent *agent, struct client *client, const __u8 *bytes, size_t length)
{
	pb_istream_t stream = pb_istream_from_buffer(bytes, length);

	memset(&request, 0, sizeof(request));
	memset(&reply, 0, sizeof(reply));
	if (!pb_decode(&stream, lmk_v1_ControlRequest_fields, &request)) {
		/* Of somebody without the token: log it. */
		agent_refused(agent, &client->peer, "no ControlRequest");
		error_reply(lmk_v1_Error_Code_BAD_REQUEST, "not a ControlRequest");
		client->closing = true;
		put_reply(agent, client);
		return;
	}
	if (!token_matches(agent->session.token, request.token.bytes, request.token.size)) {
		agent_refused(agent, &client->peer, "wrong token on the control socket");
		error_reply(lmk_v1_Error_Code_BAD_TOKEN, "not the token of this session");
		client->closing = true;
		put_reply(agent, client);
		return;
	}
	reply.token_proof.size = sizeof(agent->token_proof);
	memcpy(reply.token_proof.bytes, agent->token_proof, sizeof(agent->token_proof));
	if (request.which_body != lmk_v1_ControlRequest_renew_lease_tag)
		lease_renew(agent->shared, 0);
	switch (request.which_body) {
	case lmk_v1_ControlRequest_get_status_tag:
		reply.which_body = lmk_v1_ControlReply_status_tag;
		if (request.body.get_status.count_costs && agent->decider)
			status_count_costs(agent);
		status_fill(agent, &reply.body.status, request.body.get_status.with_candidates);
		break;
	case lmk_v1_ControlRequest_set_policy_tag:
		set_policy(agent, &request.body.set_policy);
		break;
	case lmk_v1_ControlRequest_renew_lease_tag:
		lease_renew(agent->shared, request.body.renew_lease.lease_ms);
		done_reply();
		break;
	case lmk_v1_ControlRequest_request_kill_tag:
		request_kill(agent, &request.body.request_kill);
		break;
	case lmk_v1_ControlRequest_detach_tag:
		agent_say(agent, lmk_v1_Lifecycle_Kind_DETACHED, &client->peer, "asked for");
		agent->give_back = GIVE_BACK_DETACH;
		agent->end_asked = true;
		done_reply();
		break;
	default:
		error_reply(lmk_v1_Error_Code_BAD_REQUEST,
			    "a request that this agent does not know");
	}
	put_reply(agent, client);
}
