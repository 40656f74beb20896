// SPDX-License-Identifier: Apache-2.0
#include "client.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "clock.h"
#include "control.h"
#include "event_source.h"
#include "exit_code.h"
#include "socket.h"
#include "stream.h"

static void wait_for(struct agent *agent, struct client *client, bool room)
{
	struct epoll_event event = {
		.events = EPOLLIN | (room ? (__u32)EPOLLOUT : 0),
		.data.u64 = event_source(SOURCE_CLIENT, (__u32)(client - agent->clients)),
	};

	if (client->waits_for_room == room)
		return;
	if (epoll_ctl(agent->epoll_fd, EPOLL_CTL_MOD, client->fd, &event))
		log_line("client: epoll: %s", strerror(errno));
	client->waits_for_room = room;
}

static struct client *free_slot(struct agent *agent)
{
	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		if (agent->clients[i].kind == CLIENT_FREE)
			return &agent->clients[i];
	}
	return NULL;
}

static bool accept_one(struct agent *agent, enum client_kind kind)
{
	int listener = kind == CLIENT_RECORD ? agent->record_listener : agent->control_listener;
	struct epoll_event event = {.events = EPOLLIN};
	struct record_peer peer;
	struct client *client;
	int fd = socket_accept(listener, &peer);

	if (fd == -EINTR || fd == -ECONNABORTED)
		return true;
	if (fd < 0) {
		if (fd != -EAGAIN)
			log_line("client: accept: %s", strerror(-fd));
		return false;
	}
	client = free_slot(agent);
	if (!socket_uid_allowed(peer.uid) || !client) {
		agent_refused(agent, &peer,
			      client ? "its uid may not connect" : "too many clients");
		close(fd);
		return true;
	}
	/* Not the buffers: they are touched when used, and only as far as used. */
	memset(client, 0, offsetof(struct client, in));
	event.data.u64 = event_source(SOURCE_CLIENT, (__u32)(client - agent->clients));
	if (epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		log_line("client: epoll: %s", strerror(errno));
		close(fd);
		return true;
	}
	client->kind = kind;
	client->fd = fd;
	client->peer = peer;
	client->since_ns = client->progress_ns = boottime_ns();
	spool_reader_init(&client->reader, 0, 0);
	return true;
}

void client_accept(struct agent *agent, enum client_kind kind)
{
	/* Bounded: a flood must not keep the loop from its work. */
	for (int i = 0; i < 2 * CLIENTS_MAX && accept_one(agent, kind); i++)
		;
}

void client_drop(struct agent *agent, struct client *client)
{
	(void)agent;
	if (client->kind == CLIENT_FREE)
		return;
	spool_reader_close(&client->reader);
	close(client->fd); /* leaves epoll by itself */
	client->kind = CLIENT_FREE;
}

bool client_flush(struct agent *agent, struct client *client)
{
	while (client->out_sent < client->out_length) {
		ssize_t sent =
			send(client->fd, client->out + client->out_sent,
			     client->out_length - client->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			wait_for(agent, client, true);
			return false;
		}
		if (sent < 0) {
			client_drop(agent, client);
			return false;
		}
		client->out_sent += (size_t)sent;
		client->progress_ns = boottime_ns();
	}
	client->out_sent = client->out_length = 0;
	wait_for(agent, client, false);
	return true;
}

int client_unread(const struct client *client)
{
	int unread = 0;

	/* Of a Unix socket: what the peer has not read yet (unix_outq_len). */
	return ioctl(client->fd, SIOCOUTQ, &unread) ? 0 : unread;
}

/* One whole message in `in`: hands it on. False: not whole yet, or the client is gone. */
static bool take_request(struct agent *agent, struct client *client)
{
	__u8 request[CLIENT_REQUEST_MAX];
	__u64 length;
	size_t head = varint_get(client->in, client->in_length, &length);
	size_t whole;

	if (!head && client->in_length < 3)
		return false;
	if (!head || length > CLIENT_REQUEST_MAX) {
		agent_refused(agent, &client->peer, "its request is too large");
		client_drop(agent, client);
		return false;
	}
	whole = head + (size_t)length;
	if (client->in_length < whole)
		return false;
	memcpy(request, client->in + head, (size_t)length);
	client->in_length -= whole;
	memmove(client->in, client->in + whole, client->in_length);
	client->since_ns = boottime_ns();
	if (client->kind == CLIENT_RECORD)
		stream_request(agent, client, request, (size_t)length);
	else
		control_request(agent, client, request, (size_t)length);
	return client->kind != CLIENT_FREE;
}

static void client_read(struct agent *agent, struct client *client)
{
	ssize_t got;

	do {
		got = recv(client->fd, client->in + client->in_length,
			   sizeof(client->in) - client->in_length, MSG_DONTWAIT);
	} while (got < 0 && errno == EINTR);
	if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (got <= 0) {
		client_drop(agent, client);
		return;
	}
	if (client->kind == CLIENT_RECORD && client->streaming) {
		/* After its one request such a client only reads. */
		client_drop(agent, client);
		return;
	}
	client->in_length += (size_t)got;
	while (client->kind != CLIENT_FREE &&
	       !(client->kind == CLIENT_RECORD && client->streaming) && take_request(agent, client))
		;
}

void client_event(struct agent *agent, unsigned int index, __u32 events)
{
	struct client *client = &agent->clients[index];

	if (client->kind == CLIENT_FREE)
		return;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		client_read(agent, client);
	if (client->kind == CLIENT_FREE || !(events & EPOLLOUT))
		return;
	if (!client_flush(agent, client))
		return;
	if (client->closing)
		client_drop(agent, client);
	else if (client->kind == CLIENT_RECORD && client->streaming)
		stream_pump(agent, client);
}

__u64 client_expire(struct agent *agent, __u64 now_ns)
{
	__u64 next_ns = 0;

	for (unsigned int i = 0; i < CLIENTS_MAX; i++) {
		struct client *client = &agent->clients[i];
		bool handshake = !client->streaming && client->kind == CLIENT_RECORD;
		int unread;
		__u64 end_ns;

		if (client->kind == CLIENT_FREE)
			continue;
		unread = client_unread(client);
		client->reads = !unread || unread < client->unread;
		if ((!unread && client->out_sent == client->out_length) || unread < client->unread)
			client->progress_ns = now_ns;
		client->unread = unread;
		end_ns = client->progress_ns + CLIENT_STALLED_NS;
		if (handshake || client->in_length)
			end_ns = client->since_ns + CLIENT_REQUEST_NS;
		else if (!unread && client->out_sent == client->out_length)
			continue; /* owes nothing, is owed nothing */
		if (now_ns >= end_ns) {
			if (handshake)
				agent_refused(agent, &client->peer, "it sent no request");
			client_drop(agent, client);
			continue;
		}
		if (!next_ns || end_ns < next_ns)
			next_ns = end_ns;
	}
	return next_ns;
}
