// SPDX-License-Identifier: Apache-2.0
#include "stream.h"

#include <pb_decode.h>
#include <string.h>

#include "clock.h"
#include "lease.h"
#include "socket.h"

/* Blocks for one client before the others get their turn. */
#define BLOCKS_PER_TURN 16

static void put(struct client *client, const __u8 *payload, size_t length)
{
	if (length && client->out_length + length + 3 <= sizeof(client->out))
		client->out_length +=
			record_frame(client->out + client->out_length, payload, length);
}

static void put_lost(struct client *client, lmk_v1_Lost_Where where, __u32 run, __u64 from,
		     __u64 count)
{
	__u8 payload[lmk_v1_Record_size];

	put(client, payload, record_lost(payload, where, run, from, count));
}

/* Losses without a sequence number: told once per connection, then as they happen. */
static void put_losses(struct agent *agent, struct client *client)
{
	__u64 lost = agent_ring_lost(agent);

	if (lost > client->ring_lost_told)
		put_lost(client, lmk_v1_Lost_Where_RING, agent->spool.run, 0,
			 lost - client->ring_lost_told);
	client->ring_lost_told = lost;
}

static void start_reading(struct agent *agent, struct client *client,
			  const lmk_v1_StreamRequest *request)
{
	const struct spool *spool = &agent->spool;
	__u32 run = request->run ? request->run : spool->run;
	__u64 seq = request->from_seq;

	if (request->boot_id[0] && strcmp(request->boot_id, agent->session.boot_id)) {
		/* Of another boot nothing is left: say so, then all there is of this one. */
		put_lost(client, lmk_v1_Lost_Where_SPOOL, request->run, seq, 0);
		spool_reader_init(&client->reader, spool->count ? spool->segments[0].run : run, 1);
		return;
	}
	if (!seq || run > spool->run || (run == spool->run && seq > spool->next_seq)) {
		run = spool->run;
		seq = spool->next_seq;
	}
	spool_reader_init(&client->reader, run, seq);
}

void stream_request(struct agent *agent, struct client *client, const __u8 *bytes, size_t length)
{
	lmk_v1_StreamRequest request = lmk_v1_StreamRequest_init_zero;
	pb_istream_t stream = pb_istream_from_buffer(bytes, length);
	__u8 payload[lmk_v1_Record_size];
	lmk_v1_Hello hello;

	/* Whoever does not know the token hears nothing: not even that this is lmk. */
	if (!pb_decode(&stream, lmk_v1_StreamRequest_fields, &request)) {
		agent_refused(agent, &client->peer, "no StreamRequest");
		client_drop(agent, client);
		return;
	}
	if (!token_matches(agent->session.token, request.token.bytes, request.token.size)) {
		agent_refused(agent, &client->peer, "wrong token on the record socket");
		client_drop(agent, client);
		return;
	}
	client->streaming = true;
	client->follow = request.follow;
	if (!agent->next_beat_ns)
		agent->next_beat_ns = boottime_ns() + HEARTBEAT_NS;
	lease_renew(agent->shared, 0);
	agent_hello(agent, &hello);
	put(client, payload, record_hello(payload, &hello));
	start_reading(agent, client, &request);
	put_losses(agent, client);
	stream_pump(agent, client);
}

void stream_pump(struct agent *agent, struct client *client)
{
	for (int blocks = 0; blocks < BLOCKS_PER_TURN; blocks++) {
		if (!client_flush(agent, client))
			return;
		client->out_length = spool_read(&agent->spool, &client->reader, client->out,
						sizeof(client->out));
		if (!client->out_length) {
			if (!client->follow)
				client_drop(agent, client);
			return;
		}
	}
	/* Room or not, epoll brings this client back: its socket is writable or will be. */
	if (client_flush(agent, client))
		agent->spooled = true;
}

/* A follower that leaves the last beat unread is no reason to keep the device. */
static bool is_heard(const struct client *client)
{
	if (client->kind != CLIENT_RECORD || !client->streaming || !client->follow)
		return false;
	if (client->out_sent < client->out_length) /* catching up: did it move? */
		return boottime_ns() - client->progress_ns < 2 * HEARTBEAT_NS;
	return client->reads;
}

void stream_beat(struct agent *agent)
{
	lmk_v1_Heartbeat heartbeat = lmk_v1_Heartbeat_init_zero;
	__u8 payload[lmk_v1_Record_size];
	bool somebody_reads = false;
	size_t length;

	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		if (is_heard(&agent->clients[i]))
			somebody_reads = true;
	}
	if (somebody_reads)
		lease_renew(agent->shared, 0);
	heartbeat.boottime_ns = boottime_ns();
	heartbeat.realtime_ns = realtime_ns();
	heartbeat.next_seq = agent->spool.next_seq;
	heartbeat.has_lease_left_ms = agent->shared->lease_ms != 0;
	heartbeat.lease_left_ms = lease_left_ms(agent->shared);
	length = record_heartbeat(payload, agent->spool.run, &heartbeat);
	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &agent->clients[i];

		if (client->kind != CLIENT_RECORD || !client->streaming || !client->follow ||
		    client->out_sent < client->out_length)
			continue;
		put_losses(agent, client);
		put(client, payload, length);
		client_flush(agent, client);
	}
}
