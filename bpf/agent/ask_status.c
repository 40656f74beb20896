// SPDX-License-Identifier: Apache-2.0
#include "ask_status.h"

#include <errno.h>
#include <inttypes.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "exit_code.h"
#include "lmk/v1/control.pb.h"
#include "session_file.h"
#include "socket.h"
#include "spool.h"
#include "start.h"

static lmk_v1_ControlReply reply;

/* The whole reply's payload into `bytes`. Its length; fail()s. */
static size_t exchange(const struct session *session, __u8 *bytes, size_t size)
{
	lmk_v1_ControlRequest request = lmk_v1_ControlRequest_init_zero;
	struct timeval patience = {.tv_sec = 10};
	pb_ostream_t stream = pb_ostream_from_buffer(bytes + 1, 126);
	size_t have = 0;
	int fd;

	request.token.size = TOKEN_BYTES;
	memcpy(request.token.bytes, session->token, TOKEN_BYTES);
	request.which_body = lmk_v1_ControlRequest_get_status_tag;
	request.body.get_status.with_candidates = true;
	if (!pb_encode(&stream, lmk_v1_ControlRequest_fields, &request))
		fail(EXIT_BUG, "request not encoded");
	bytes[0] = (__u8)stream.bytes_written;
	fd = socket_connect(session->control_socket);
	if (fd < 0)
		fail(EXIT_TRANSIENT, "agent %d does not answer: %s", session->agent_pid,
		     strerror(-fd));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (send(fd, bytes, stream.bytes_written + 1, MSG_NOSIGNAL) < 0)
		fail(EXIT_TRANSIENT, "agent %d: %s", session->agent_pid, strerror(errno));
	for (;;) {
		__u64 length;
		size_t head = varint_get(bytes, have, &length);
		ssize_t got;

		if (head && have >= head + length) {
			close(fd);
			memmove(bytes, bytes + head, (size_t)length);
			return (size_t)length;
		}
		got = have < size ? recv(fd, bytes + have, size - have, 0) : 0;
		if (got <= 0)
			fail(EXIT_PROTOCOL, "agent %d hung up without a reply", session->agent_pid);
		have += (size_t)got;
	}
}

int ask_status_main(const char *dir)
{
	static __u8 bytes[lmk_v1_ControlReply_size + 8];
	const lmk_v1_Status *status = &reply.body.status;
	struct session session;
	pb_istream_t stream;

	prepare_dir(dir);
	if (session_read(dir, &session))
		fail(EXIT_USAGE, "no session in %s", dir);
	stream = pb_istream_from_buffer(bytes, exchange(&session, bytes, sizeof(bytes)));
	if (!pb_decode(&stream, lmk_v1_ControlReply_fields, &reply))
		fail(EXIT_PROTOCOL, "reply: %s", PB_GET_ERROR(&stream));
	if (reply.which_body != lmk_v1_ControlReply_status_tag)
		fail(EXIT_PROTOCOL, "%s", reply.body.error.message);
	printf("{\"run\": %" PRIu32 ", \"next_seq\": %" PRIu64 ", \"agent_pid\": %" PRId32
	       ", \"guardian_pid\": %" PRId32 ", \"agent_restarts\": %" PRIu32
	       ", \"kill_path\": \"%s\", \"spool_bytes\": %" PRIu64 ", \"lease_left_ms\": %" PRIu64
	       ", \"mem_free_kb\": %" PRIu64 ", \"mem_available_kb\": %" PRIu64
	       ", \"pending_pid\": %" PRId32 ", \"counters\": {",
	       status->hello.run, status->hello.next_seq, status->agent_pid, status->guardian_pid,
	       status->agent_restarts, kill_path_name(status->hello.kill_path), status->spool_bytes,
	       status->lease_left_ms, status->sample.mem_free_kb, status->sample.mem_available_kb,
	       status->pending_pid);
	for (pb_size_t i = 0; i < status->counters_count; i++)
		printf("%s\"%s\": %" PRIu64, i ? ", " : "", status->counters[i].name,
		       status->counters[i].value);
	printf("}, \"candidates\": [");
	for (pb_size_t i = 0; i < status->candidates_count; i++)
		printf("%s[%" PRId32 ", %" PRId32 "]", i ? ", " : "", status->candidates[i].pid,
		       status->candidates[i].oom_score_adj);
	puts("]}");
	return EXIT_OK;
}
