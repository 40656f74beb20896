// SPDX-License-Identifier: Apache-2.0
#include "guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "exit_code.h"
#include "give_back.h"
#include "leftovers.h"
#include "lease.h"
#include "process.h"

extern char **environ;

int spawn_role(const char *role, bool ready)
{
	char *const arguments[] = {"lmk-agent", (char *)role, NULL};
	pid_t pid;

	/* Between fork and exec only system calls: the agent has threads. */
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid)
		return pid;
	shared_keep_across_exec();
	fcntl(FD_READY, F_SETFD, ready ? 0 : FD_CLOEXEC);
	/* The running file itself, whatever a newer push has put in its place. */
	execve("/proc/self/exe", arguments, environ);
	_exit(EXIT_BUG);
}

/* Code and constants, so that nothing has to be read from disk when memory is gone. */
static void lock_code(void)
{
	const ElfW(Phdr) *header = (const void *)getauxval(AT_PHDR);
	unsigned long count = getauxval(AT_PHNUM);

	/* A static program that is not position independent: addresses are what they say. */
	for (unsigned long i = 0; header && i < count; i++) {
		if (header[i].p_type != PT_LOAD || header[i].p_flags & PF_W)
			continue;
		if (mlock((const void *)header[i].p_vaddr, header[i].p_memsz))
			log_line("mlock: %s", strerror(errno));
	}
}

void become_daemon(const char *name, const char *dir)
{
	int error;

	prctl(PR_SET_NAME, name);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (chdir(dir))
		log_line("chdir %s: %s", dir, strerror(errno));
	error = write_small_file("/proc/self/oom_score_adj", "-1000");
	if (error)
		log_line("oom_score_adj: %s", strerror(-error));
	/* On fault: what is never used (most of glibc) need not be in memory. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT))
		log_line("mlockall: %s", strerror(errno));
	lock_code();
}

/* 0: for ever. One that has begun to give the device back may wait for lmkd. */
static __u64 let_be_until(const struct shared *shared)
{
	__u64 end_ns = shared->lease_end_ns, leaving_ns = shared->leaving_until_ns;

	if (!shared->lease_ms)
		return 0;
	return (end_ns > leaving_ns ? end_ns : leaving_ns) + LEASE_GRACE_MS * NSEC_PER_MSEC;
}

/* Waits until the process is gone or the lease is over by more than the grace. */
static void watch_agent(struct shared *shared, int pidfd)
{
	for (;;) {
		struct pollfd agent = {.fd = pidfd, .events = POLLIN};
		__u64 end_ns = let_be_until(shared), now_ns = boottime_ns();
		int timeout_ms = -1;

		if (end_ns && now_ns >= end_ns) {
			log_line("guardian: the agent lets the lease run out: killed");
			shared->give_back = GIVE_BACK_LEASE;
			pidfd_kill(pidfd, SIGKILL);
			end_ns = 0;
		}
		/* Not longer than a minute: time in suspend does not count for poll(2). */
		if (end_ns)
			timeout_ms = end_ns - now_ns > 60 * NSEC_PER_SEC
					     ? 60000
					     : (int)((end_ns - now_ns) / NSEC_PER_MSEC) + 1;
		if (poll(&agent, 1, timeout_ms) > 0)
			return;
	}
}

static void reap(void)
{
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/*
 * The agent is lost: lmkd has to kill. False: it does, or it was not replaced. Where it does not
 * answer, another agent may do better than nobody, after a while.
 */
static bool pause_for_lmkd(struct shared *shared, unsigned int failures)
{
	__u64 pause_ns = LMKD_PAUSE_NS;

	if (!shared->with_handlers || !give_back_killers(shared) || !lmkd_silent(shared->dir))
		return false;
	for (unsigned int i = AGENT_TRIES + 1; i < failures && pause_ns < LMKD_PAUSE_MAX_NS; i++)
		pause_ns = lmkd_next_pause(pause_ns);
	log_line("guardian: the agent is lost, and lmkd does not answer");
	usleep((useconds_t)(pause_ns / NSEC_PER_USEC));
	return true;
}

/* Say so in the spool, for whoever comes next, with what the agent still had in hand. */
static void record_agent_lost(struct shared *shared)
{
	char text[96];
	int error;

	snprintf(text, sizeof(text), "the agent died again after %d restarts", AGENT_TRIES);
	/* The killers first: from the next step on the handlers kill nobody. */
	error = shared->with_handlers ? give_back_killers(shared) : 0;
	if (error)
		log_line("guardian: who was replaced: %s", strerror(-error));
	if (shared->with_handlers)
		leftovers_take(shared);
	error = leftovers_spool(shared, lmk_v1_Lifecycle_Kind_AGENT_LOST, text);
	if (error)
		log_line("guardian: spool: %s", strerror(-error));
}

/* A pidfd of the agent there is, or of a new one; -errno when none can be had. */
static int agent_pidfd(struct shared *shared, bool *ready)
{
	int pid = shared->agent_pid;

	if (!pid) {
		shared->agent_ready = 0;
		pid = spawn_role("agent", *ready);
		if (*ready) {
			/* From now on `start` hears from the agent, or of its end. */
			close(FD_READY);
			*ready = shared_take_ready();
		}
		if (pid < 0)
			return pid;
		shared->agent_pid = pid;
	}
	return pidfd_open(pid);
}

int guardian_main(void)
{
	struct shared *shared = shared_open();
	unsigned int failures = 0;
	bool ready;

	if (!shared) {
		log_line("guardian: no session: %s", strerror(errno));
		return EXIT_USAGE;
	}
	become_daemon("lmk-guardian", shared->dir);
	shared->guardian_pid = getpid();
	/* An agent's new guardian finds the agent running; `start`'s has yet to start it. */
	ready = shared_take_ready();
	while (!shared->give_back) {
		__u64 begin_ns = boottime_ns();
		bool was_first = !shared->run;
		int pidfd = agent_pidfd(shared, &ready);

		if (pidfd >= 0) {
			watch_agent(shared, pidfd);
			shared->agent_ended_ns = boottime_ns();
			close(pidfd);
			reap();
		} else if (pidfd != -ESRCH) {
			log_line("guardian: agent: %s", strerror(-pidfd));
		}
		shared->agent_pid = 0;
		if (shared->give_back)
			break;
		/* An agent that never came up is an attach that failed: `start` says why. */
		if (was_first && !shared->agent_ready)
			break;
		failures = boottime_ns() - begin_ns >= AGENT_HEALTHY_NS ? 1 : failures + 1;
		if (failures > AGENT_TRIES && !pause_for_lmkd(shared, failures)) {
			log_line("guardian: the agent is lost");
			record_agent_lost(shared);
			shared->give_back = GIVE_BACK_AGENT_LOST;
			break;
		}
		log_line("guardian: the agent died: try %u", failures);
		shared->agent_restarts++;
	}
	if (shared->with_handlers)
		give_back_killers_patiently(shared);
	return give_back(shared, shared->with_handlers) ? EXIT_BUG : EXIT_OK;
}
