// SPDX-License-Identifier: Apache-2.0
#include "lmkd_server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "event_source.h"
#include "exit_code.h"
#include "lmkd_adj.h"
#include "lmkd_socket.h"
#include "process.h"

/*
 * Of one client, per event: an adj change takes some 13 µs (measured, x86-64), so others wait
 * about a millisecond for a client that never stops.
 */
#define PACKETS_PER_EVENT 64
#define TARGETS_PERIOD_NS NSEC_PER_SEC

/* Counted always; said when the count is a power of two, so that a flood is not one in the log. */
static void refuse(struct lmkd_server *server, const struct lmkd_client *client, __u32 command,
		   enum lmkd_refusal refusal)
{
	__u64 count = ++server->counters.refused[refusal];

	if (count_is_logged(count))
		log_line("lmkd socket: command %u of pid %d refused, %llu times so far: %s",
			 command, client->pid, count, lmkd_refusal_text(refusal));
}

/* -- what is sent -------------------------------------------------------------------------- */

/* Records of `pid` become ownerless with the last of its connections. */
static void release(struct lmkd_server *server, __s32 pid)
{
	for (int i = 0; i < LMKD_CLIENTS; i++) {
		if (server->clients[i].fd >= 0 && server->clients[i].pid == pid)
			return;
	}
	lmkd_release(&server->registry, pid);
}

static void drop(struct lmkd_server *server, struct lmkd_client *client)
{
	close(client->fd); /* leaves epoll by itself */
	client->fd = -1;
	release(server, client->pid);
}

/*
 * lmkd waits here for a client that does not read, and the device with it. What is unread by now is
 * some hundred packets: it is not slow. Dropped, it gets them, then the end of the connection, so
 * it knows that something is missing; and what it missed is told when it comes again.
 */
static void drop_deaf(struct lmkd_server *server, struct lmkd_client *client)
{
	__u64 count = ++server->counters.clients_deaf;

	if (count_is_logged(count))
		log_line("lmkd socket: pid %d does not read: dropped, the %lluth so far",
			 client->pid, count);
	drop(server, client);
}

static bool tell(struct lmkd_server *server, struct lmkd_client *client, const __u8 *packet,
		 size_t length)
{
	ssize_t sent;

	if (client->fd < 0)
		return false;
	do {
		sent = send(client->fd, packet, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return true;
	server->counters.unsent++;
	/* Of another error (-EPIPE) its end is heard as an event. */
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		drop_deaf(server, client);
	return false;
}

static void reply(struct lmkd_server *server, struct lmkd_client *client, enum lmkd_command command,
		  __s32 value)
{
	__u8 packet[LMKD_REPLY_BYTES];

	tell(server, client, packet, lmkd_encode_reply(packet, command, value));
}

static size_t encode(const struct lmkd_server *server, enum lmkd_subscription which,
		     const struct lmkd_killed *killed, __u8 packet[LMKD_STAT_BYTES])
{
	return which == LMKD_SUBSCRIBE_STAT
		       ? lmkd_encode_stat(packet, killed)
		       : lmkd_encode_killed(packet, killed, !server->short_killed);
}

/* False: nobody was told. */
static bool tell_subscribers(struct lmkd_server *server, enum lmkd_subscription which,
			     const struct lmkd_killed *killed)
{
	__u8 packet[LMKD_STAT_BYTES];
	size_t length = encode(server, which, killed, packet);
	bool told = false;

	for (int i = 0; i < LMKD_CLIENTS; i++) {
		struct lmkd_client *client = &server->clients[i];

		if (client->fd >= 0 && client->events & 1U << which)
			told |= tell(server, client, packet, length);
	}
	return told;
}

void lmkd_server_killed(struct lmkd_server *server, struct lmkd_killed *killed)
{
	__u64 start_ticks = process_ticks((__u64)killed->start_time_ns);
	const struct lmkd_record *record = lmkd_find(&server->registry, killed->pid);
	__u32 waits = 0;

	/* ActivityManager looks it up by what it said itself. */
	if (record && record->start_ticks == start_ticks)
		killed->uid = record->uid;
	lmkd_note_kill(&server->registry, killed->pid, start_ticks, killed->adj);
	if (!tell_subscribers(server, LMKD_SUBSCRIBE_STAT, killed))
		waits |= 1U << LMKD_SUBSCRIBE_STAT;
	if (tell_subscribers(server, LMKD_SUBSCRIBE_KILL, killed))
		server->counters.told++;
	else
		waits |= 1U << LMKD_SUBSCRIBE_KILL;
	if (waits)
		lmkd_missed_add(server->missed, killed, waits);
}

static void subscribe(struct lmkd_server *server, struct lmkd_client *client,
		      enum lmkd_subscription which)
{
	const struct lmkd_killed *killed;
	__u8 packet[LMKD_STAT_BYTES];

	client->events |= 1U << which;
	while (client->fd >= 0 &&
	       (killed = lmkd_missed_take(server->missed, which, boottime_ns()))) {
		if (tell(server, client, packet, encode(server, which, killed, packet)) &&
		    which == LMKD_SUBSCRIBE_KILL)
			server->counters.told_later++;
	}
}

/* -- what is asked for --------------------------------------------------------------------- */

static enum lmkd_refusal set_targets(struct lmkd_server *server, const struct lmkd_packet *packet)
{
	__u64 now_ns = boottime_ns();

	if (server->targets_ns && now_ns - server->targets_ns < TARGETS_PERIOD_NS)
		return LMKD_REFUSE_SOON;
	server->targets_ns = now_ns;
	server->targets_count = packet->count;
	memcpy(server->targets, packet->targets, sizeof(server->targets));
	if (server->hooks.targets)
		server->hooks.targets(server->hooks.context, server->targets,
				      server->targets_count);
	return LMKD_TAKEN;
}

static void set_adjs(struct lmkd_server *server, const struct lmkd_client *client,
		     const struct lmkd_packet *packet)
{
	/* Each for itself, as in lmkd: one that is bad or gone keeps none of the rest out. */
	for (__u32 i = 0; i < packet->count; i++) {
		const struct lmkd_process *process = &packet->processes[i];
		enum lmkd_refusal refusal = process->refusal;

		if (!refusal)
			refusal = lmkd_set_adj(&server->registry, client->pid, process);
		if (!refusal && server->hooks.registered)
			refusal = server->hooks.registered(server->hooks.context, &server->registry,
							   process->pid);
		if (refusal)
			refuse(server, client, packet->command, refusal);
	}
}

static int update_props(struct lmkd_server *server)
{
	const struct lmkd_hooks *hooks = &server->hooks;

	return hooks->update_props && hooks->update_props(hooks->context) ? -1 : 0;
}

/* 0: now; 1: already; -1: too early. */
static int note_boot(struct lmkd_server *server)
{
	if (server->booted)
		return 1;
	if (server->hooks.boot_completed && !server->hooks.boot_completed(server->hooks.context))
		return -1;
	server->booted = true;
	return 0;
}

static enum lmkd_refusal carry_out(struct lmkd_server *server, struct lmkd_client *client,
				   const struct lmkd_packet *packet)
{
	struct lmkd_registry *registry = &server->registry;
	enum lmkd_command command = (enum lmkd_command)packet->command;

	switch (command) {
	case LMKD_TARGET:
		return set_targets(server, packet);
	case LMKD_PROCPRIO:
	case LMKD_PROCS_PRIO:
		set_adjs(server, client, packet);
		break;
	case LMKD_PROCREMOVE:
		return lmkd_remove(registry, client->pid, packet->pid);
	case LMKD_PROCPURGE:
		lmkd_purge(registry, client->pid);
		break;
	case LMKD_GETKILLCNT:
		reply(server, client, command,
		      lmkd_kill_count(registry, packet->min_adj, packet->max_adj));
		break;
	case LMKD_SUBSCRIBE:
		subscribe(server, client, (enum lmkd_subscription)packet->subscription);
		break;
	case LMKD_UPDATE_PROPS:
		reply(server, client, command, update_props(server));
		break;
	case LMKD_START_MONITORING:
		if (server->hooks.start_monitoring)
			server->hooks.start_monitoring(server->hooks.context);
		break;
	case LMKD_BOOT_COMPLETED:
		reply(server, client, command, note_boot(server));
		break;
	default: /* lmkd_parse() takes none of these */
		break;
	}
	return LMKD_TAKEN;
}

/* -- clients ------------------------------------------------------------------------------- */

/* A descriptor may be handed on: what counts is who sent this packet, not who connected. */
static bool identify(struct lmkd_server *server, struct lmkd_client *client,
		     const struct ucred *sender)
{
	__s32 before = client->pid;

	if (!lmkd_uid_allowed(sender->uid) || sender->pid <= 0)
		return false;
	if (sender->pid == before)
		return true;
	client->pid = sender->pid;
	release(server, before);
	return true;
}

static void take(struct lmkd_server *server, struct lmkd_client *client, const __u8 *bytes,
		 size_t length, const struct ucred *sender)
{
	enum lmkd_refusal refusal;
	struct lmkd_packet packet;

	server->counters.packets++;
	refusal = lmkd_parse(bytes, length, &packet);
	if (!refusal && !identify(server, client, sender))
		refusal = LMKD_REFUSE_SENDER;
	if (!refusal)
		refusal = carry_out(server, client, &packet);
	if (refusal)
		refuse(server, client, packet.command, refusal);
}

void lmkd_server_event(struct lmkd_server *server, __u32 index)
{
	struct lmkd_client *client = &server->clients[index];
	__u8 bytes[LMKD_PACKET_MAX];
	struct ucred sender;
	size_t length;

	for (int i = 0; i < PACKETS_PER_EVENT && client->fd >= 0; i++) {
		switch (lmkd_receive(client->fd, bytes, sizeof(bytes), &length, &sender)) {
		case LMKD_NOTHING:
			return;
		case LMKD_PACKET:
			take(server, client, bytes, length, &sender);
			break;
		case LMKD_END:
			drop(server, client);
			return;
		}
	}
}

__u32 lmkd_server_clients(const struct lmkd_server *server)
{
	__u32 count = 0;

	for (int i = 0; i < LMKD_CLIENTS; i++)
		count += server->clients[i].fd >= 0;
	return count;
}

static struct lmkd_client *free_slot(struct lmkd_server *server)
{
	for (int i = 0; i < LMKD_CLIENTS; i++) {
		if (server->clients[i].fd < 0)
			return &server->clients[i];
	}
	return NULL;
}

/* False: none waits. */
static bool accept_one(struct lmkd_server *server)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct ucred peer = {0};
	socklen_t length = sizeof(peer);
	struct lmkd_client *client;
	int fd;

	fd = accept4(server->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return errno == EINTR || errno == ECONNABORTED;
	client = free_slot(server);
	if (!client || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) ||
	    !lmkd_uid_allowed(peer.uid)) {
		server->counters.clients_refused++;
		close(fd);
		return true;
	}
	event.data.u64 = event_source(SOURCE_LMKD_CLIENT, (__u32)(client - server->clients));
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		log_line("lmkd socket: epoll: %s", strerror(errno));
		close(fd);
		return true;
	}
	*client = (struct lmkd_client){.fd = fd, .pid = peer.pid};
	return true;
}

void lmkd_server_accept(struct lmkd_server *server)
{
	/* Bounded: a flood must not keep the loop from its work. */
	for (int i = 0; i < 2 * LMKD_CLIENTS && accept_one(server); i++)
		;
}

/* -- begin and end -------------------------------------------------------------------------- */

void lmkd_server_begin(struct lmkd_server *server, struct lmkd_missed *missed)
{
	memset(server, 0, offsetof(struct lmkd_server, registry));
	server->missed = missed;
	server->listener = -1;
	for (int i = 0; i < LMKD_CLIENTS; i++)
		server->clients[i].fd = -1;
}

int lmkd_server_open(struct lmkd_server *server, int epoll_fd, int listener,
		     const struct lmkd_hooks *hooks)
{
	struct epoll_event event = {.events = EPOLLIN,
				    .data.u64 = event_source(SOURCE_LMKD_LISTENER, 0)};
	int on = 1;

	server->epoll_fd = epoll_fd;
	server->listener = listener;
	if (hooks)
		server->hooks = *hooks;
	/* Connections inherit it, so what is sent before they are accepted has a sender as well. */
	if (setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)))
		return -errno;
	/* One from init is made without it. */
	if (fcntl(listener, F_SETFL, O_NONBLOCK))
		return -errno;
	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) ? -errno : 0;
}

void lmkd_server_close(struct lmkd_server *server)
{
	/* First: who is dropped comes again at once, and must not come to this one. */
	close(server->listener);
	server->listener = -1;
	for (int i = 0; i < LMKD_CLIENTS; i++) {
		if (server->clients[i].fd >= 0)
			drop(server, &server->clients[i]);
	}
}
