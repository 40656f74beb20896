// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <pb_encode.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf_sys.h"
#include "clock.h"
#include "exit_code.h"
#include "give_back.h"
#include "leftovers.h"
#include "lmk/v1/control.pb.h"
#include "lmkd_missed_file.h"
#include "lmkd_replaced.h"
#include "lmkd_service.h"
#include "process.h"
#include "session_file.h"
#include "shared.h"
#include "socket.h"
#include "spool.h"
#include "start.h"

/* An agent that answers is gone within its farewell (0.5 s); the guardian then unpins. */
#define ASKED_NS (8 * NSEC_PER_SEC)
/* More where it waits first for who was replaced, and the guardian may try that once again. */
#define KILLERS_NS (24 * NSEC_PER_SEC)
#define KILLED_NS  (5 * NSEC_PER_SEC)
/* An lmkd that did not answer may do so now: an agent that is asked tries at once. */
#define SILENT_NS (8 * NSEC_PER_SEC)

/* Asks the agent to go. 0, or -errno when it cannot be asked. */
static int ask(const struct session *session)
{
	lmk_v1_ControlRequest request = lmk_v1_ControlRequest_init_zero;
	__u8 bytes[64], framed[70];
	pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof(bytes));
	size_t head;
	int fd, error = 0;

	request.token.size = TOKEN_BYTES;
	memcpy(request.token.bytes, session->token, TOKEN_BYTES);
	request.which_body = lmk_v1_ControlRequest_detach_tag;
	if (!pb_encode(&stream, lmk_v1_ControlRequest_fields, &request))
		return -EMSGSIZE;
	head = varint_put(framed, stream.bytes_written);
	memcpy(framed + head, bytes, stream.bytes_written);
	fd = socket_connect(session->control_socket);
	if (fd < 0)
		return fd;
	if (send(fd, framed, head + stream.bytes_written, MSG_NOSIGNAL) < 0)
		error = -errno;
	close(fd);
	return error;
}

/* Does somebody kill while lmkd is waited for? */
static bool somebody_kills(const struct session *session)
{
	return session->kill_path == LMK_PATH_IN_KERNEL ||
	       process_is(session->agent_pid, session->agent_start_ticks);
}

/* fail()s. `by_itself`: somebody lives who asks lmkd again and again. */
static void fail_for_lmkd(const char *dir, bool by_itself)
{
	struct session session;
	bool kills = !session_read(dir, &session) && somebody_kills(&session);

	fail(EXIT_TRANSIENT,
	     "lmkd was started and does not answer on " LMKD_SOCKET ": until it does %s; %s",
	     kills ? "lmk goes on killing in its place"
		   : "nobody kills but the kernel's OOM killer",
	     by_itself ? "lmk asks again by itself, and is gone once it answers"
		       : "`lmk detach` asks again");
}

/* Since when lmkd is known not to answer; 0: it does, or was not asked. */
static __u64 silent_since(const char *dir, __u64 since_ns)
{
	if (!lmkd_silent(dir))
		return 0;
	return since_ns ? since_ns : boottime_ns();
}

/*
 * Until nobody holds the lock, or patience is over. With `answered`, asks every agent there is to
 * go: while we wait a new one may have taken over, with a socket of its own. fail()s where they
 * stay as lmkd does not answer.
 */
static bool wait_for_end(const char *dir, int lock, bool *answered, __u64 patience_ns)
{
	__u64 end_ns = boottime_ns() + patience_ns, silent_ns = 0;
	char asked[SOCKET_NAME] = "";

	while (flock(lock, LOCK_EX | LOCK_NB)) {
		struct session session;

		silent_ns = silent_since(dir, silent_ns);
		if (silent_ns && boottime_ns() >= silent_ns + SILENT_NS)
			fail_for_lmkd(dir, true);
		if (!silent_ns && boottime_ns() >= end_ns)
			return false;
		if (answered && !session_read(dir, &session) &&
		    strcmp(asked, session.control_socket)) {
			if (!ask(&session))
				*answered = true;
			memcpy(asked, session.control_socket, sizeof(asked));
		}
		usleep(20000);
	}
	return true;
}

/* The process that the session file names, if it still is that one; -1. */
static int open_process(pid_t pid, __u64 start_ticks)
{
	int fd = pid > 0 ? pidfd_open(pid) : -1;

	if (fd >= 0 && !process_is(pid, start_ticks)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Each would bring back the other: both are stopped before either dies. */
static void kill_both(const struct session *session)
{
	const int signals[] = {SIGSTOP, SIGKILL};
	int fds[] = {
		open_process(session->guardian_pid, session->guardian_start_ticks),
		open_process(session->agent_pid, session->agent_start_ticks),
	};

	for (int i = 0; i < 2; i++) {
		for (int j = 0; j < 2; j++) {
			if (fds[j] >= 0)
				pidfd_kill(fds[j], signals[i]);
		}
	}
	for (int j = 0; j < 2; j++) {
		if (fds[j] >= 0)
			close(fds[j]);
	}
}

/* Of a session whose agent and guardian are dead. fail()s. */
static void remove_pins(const char *dir, bool patient)
{
	static struct shared shared;
	int pins = open("/sys/fs/bpf", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;

	if (pins >= 0 && flock(pins, LOCK_EX | LOCK_NB))
		fail(EXIT_USAGE, "a session of another directory is running");
	shared.spool_limit_kb = SPOOL_LIMIT_KB;
	snprintf(shared.dir, sizeof(shared.dir), "%s", dir);
	/* Its kills are told to ActivityManager by the session that takes lmkd's place next. */
	if (lmkd_replaced(dir))
		snprintf(shared.lmkd_socket, sizeof(shared.lmkd_socket), "%s", LMKD_SOCKET);
	/* The killers first: from the next step on the handlers kill nobody. */
	if (patient)
		give_back_killers_patiently(&shared);
	else if (give_back_killers(&shared) && lmkd_silent(dir))
		fail_for_lmkd(dir, false);
	leftovers_take(&shared);
	leftovers_spool(&shared, lmk_v1_Lifecycle_Kind_DETACHED,
			"agent and guardian were dead; their handlers were removed");
	error = lmkd_missed_save(dir, &shared.lmkd_missed);
	if (error)
		log_line("lmkd-missed: %s", strerror(-error));
	error = give_back(&shared, true);
	if (error && pins_present())
		fail(EXIT_TRANSIENT, "not all of " LMK_PIN_DIR " could be removed: %s",
		     strerror(-error));
	if (error)
		fail(EXIT_TRANSIENT, "the handlers are gone, but %s is not back: %s",
		     lmkd_replaced(dir) ? "lmkd" : "the other killer", strerror(-error));
}

/* -EWOULDBLOCK. */
static int stop_lock(const char *dir, int how)
{
	char path[128];
	int fd, error;

	snprintf(path, sizeof(path), "%s/stopping", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
	while (flock(fd, how)) {
		error = -errno;
		if (error == -EINTR)
			continue;
		if (error != -EWOULDBLOCK)
			fail(EXIT_BUG, "%s: flock: %s", path, strerror(-error));
		close(fd);
		return error;
	}
	return fd;
}

int stop_wait(const char *dir)
{
	return stop_lock(dir, LOCK_SH);
}

static int stopped_nothing(void)
{
	puts("{\"stopped\": \"nothing\"}");
	return EXIT_OK;
}

static int stop_session(const char *dir, enum stop_what wanted)
{
	struct session session;
	const char *what = "nothing";
	char path[128];
	bool known;
	int lock;

	known = session_read(dir, &session) == 0;
	snprintf(path, sizeof(path), "%s/lock", dir);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (lock < 0)
		fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
	if (flock(lock, LOCK_EX | LOCK_NB)) {
		bool answered = false;

		if (wanted != STOP_SESSION)
			return stopped_nothing();
		if (!wait_for_end(dir, lock, &answered,
				  ASKED_NS + (give_back_noted(dir) ? KILLERS_NS : 0))) {
			if (session_read(dir, &session))
				fail(EXIT_TRANSIENT, "the session in %s neither answers nor ends",
				     dir);
			kill_both(&session);
			what = "killed";
			if (!wait_for_end(dir, lock, NULL, KILLED_NS))
				fail(EXIT_TRANSIENT, "agent %d or guardian %d does not die",
				     session.agent_pid, session.guardian_pid);
		} else if (answered) {
			what = "session"; /* else they were just dying by themselves */
		}
	}
	/* Whoever held it is gone: what is pinned now is nobody's. */
	if (pins_present() || give_back_noted(dir)) {
		remove_pins(dir, wanted == STOP_LEFTOVERS_PATIENTLY);
		if (!strcmp(what, "nothing"))
			what = "leftovers";
	} else if (known) {
		session_remove(dir);
		if (!strcmp(what, "nothing"))
			what = "leftovers";
	}
	printf("{\"stopped\": \"%s\"}\n", what);
	return EXIT_OK;
}

static bool nothing_left(const char *dir)
{
	struct session session;

	return !pins_present() && !give_back_noted(dir) && session_read(dir, &session);
}

int stop_main(const char *dir, enum stop_what wanted)
{
	int stopping, code;

	/* Of a folder that somebody removes just now nothing is made anew. */
	if (wanted != STOP_SESSION && nothing_left(dir))
		return stopped_nothing();
	prepare_dir(dir);
	/* Asks nobody to go, and may wait for long: it holds nobody up. */
	if (wanted == STOP_LEFTOVERS_PATIENTLY)
		return stop_session(dir, wanted);
	/* One that is at work gives back what dead ones left, too. */
	stopping = stop_lock(dir, wanted == STOP_LEFTOVERS ? LOCK_EX | LOCK_NB : LOCK_EX);
	if (stopping < 0)
		return stopped_nothing();
	code = stop_session(dir, wanted);
	close(stopping);
	return code;
}
