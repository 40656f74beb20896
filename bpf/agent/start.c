// SPDX-License-Identifier: Apache-2.0
#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bpf_sys.h"
#include "clock.h"
#include "exit_code.h"
#include "give_back.h"
#include "guardian.h"
#include "lease.h"
#include "leftovers.h"
#include "lmkd_missed_file.h"
#include "lmkd_service.h"
#include "load.h"
#include "policy_check.h"
#include "process.h"
#include "session_file.h"
#include "shared.h"
#include "spool.h"

#define BPFFS	    "/sys/fs/bpf"
#define BPFFS_MAGIC 0xcafe4a11
#define ENDING_NS   (2 * NSEC_PER_SEC)
/* For an init nobody tries again: as long as a `stop` may take that somebody has just begun. */
#define PATIENT_NS (40 * NSEC_PER_SEC)
/* lmkd's answer, at most twice, and the unpinning. */
#define CLEAN_UP_NS (15 * NSEC_PER_SEC)

void prepare_dir(const char *dir)
{
	struct stat stat;

	if (geteuid() != 0)
		fail(EXIT_USAGE, "not root: run as root (adb root, or su)");
	if (dir[0] != '/' || strlen(dir) > 100)
		fail(EXIT_USAGE, "--dir: an absolute path of at most 100 bytes");
	if (mkdir(dir, 0700) && errno != EEXIST)
		fail(EXIT_USAGE, "%s: %s", dir, strerror(errno));
	if (lstat(dir, &stat))
		fail(EXIT_USAGE, "%s: %s", dir, strerror(errno));
	/* Nothing of root's runs or lies where somebody else could have put it. */
	if (!S_ISDIR(stat.st_mode) || stat.st_uid != 0 || stat.st_mode & (S_IWGRP | S_IWOTH))
		fail(EXIT_USAGE, "%s is not a directory that only root may write", dir);
	if (stat.st_mode & (S_IRWXG | S_IRWXO) && chmod(dir, 0700))
		fail(EXIT_USAGE, "%s: chmod 0700: %s", dir, strerror(errno));
}

/* Moves `fd` to the fixed number `to`, to be inherited. */
static void place_fd(int fd, int to)
{
	if (fd == to)
		return;
	if (dup2(fd, to) < 0)
		fail(EXIT_BUG, "dup2: %s", strerror(errno));
	close(fd);
}

/* The inherited numbers hold nothing of the caller's, and nothing else can land on them. */
static void reserve_inherited_fds(void)
{
	/* A pipe of the caller's that a daemon kept would keep the caller waiting for its end. */
	if (syscall(SYS_close_range, FD_DIR_LOCK, ~0U, 0)) {
		for (int fd = FD_DIR_LOCK; fd < 1024; fd++) /* before 5.9 */
			close(fd);
	}
	for (int fd = 0; fd < FD_FIRST_OWN; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR | O_CLOEXEC) != fd)
			fail(EXIT_BUG, "/dev/null: %s", strerror(errno));
	}
}

static int lock_dir(const char *dir)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
	return fd;
}

/* An agent by its own first argument: for a message only. */
static int find_agent(pid_t pid, void *context)
{
	char path[32], text[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	length = read_small_file(path, text, sizeof(text));
	if (length < 16 || strcmp(text, "lmk-agent") || strcmp(text + 10, "agent"))
		return 0;
	*(int *)context = pid;
	return 1;
}

/* Whoever holds the lock has written who it is into the file. */
static void read_holder(const char *dir, char holder[HOLDER_BYTES])
{
	char path[128];

	snprintf(path, sizeof(path), "%s/lock", dir);
	if (read_small_file(path, holder, HOLDER_BYTES) <= 0)
		snprintf(holder, HOLDER_BYTES, "somebody unknown");
}

static void write_holder(int lock, const char *holder)
{
	if (ftruncate(lock, 0) || pwrite(lock, holder, strlen(holder), 0) < 0)
		fail(EXIT_USAGE, "the lock of the directory cannot be written: %s",
		     strerror(errno));
}

static void refuse_second(const char *dir)
{
	char holder[HOLDER_BYTES];
	struct session session;
	int pid = 0;

	read_holder(dir, holder);
	if (!session_read(dir, &session))
		fail(EXIT_USAGE,
		     "held by %s: already running in %s: agent pid %d, guardian pid %d, build "
		     "%.16s",
		     holder, dir, session.agent_pid, session.guardian_pid, session.build_id);
	process_each(find_agent, &pid);
	if (pid)
		fail(EXIT_USAGE, "already running: agent pid %d, of another directory", pid);
	fail(EXIT_USAGE, "held by %s: already running, or just starting, in %s", holder, dir);
}

/* A power cut leaves a session file behind: it tells nothing of who holds the lock now. */
static bool has_session(const char *dir)
{
	struct session session;
	char boot_id[40];

	return !session_read(dir, &session) &&
	       (read_boot_id(boot_id) || !strcmp(session.boot_id, boot_id));
}

/* A session without a session file is just ending: that takes a moment, not more. */
static void take_lock(int fd, const struct start_options *options)
{
	__u64 end_ns = boottime_ns() + (options->patient ? PATIENT_NS : ENDING_NS);

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			fail(EXIT_BUG, "flock: %s", strerror(errno));
		if (has_session(options->dir) || boottime_ns() >= end_ns)
			refuse_second(options->dir);
		usleep(10000);
	}
}

static void mount_bpffs(void)
{
	struct statfs fs;

	if (!statfs(BPFFS, &fs) && fs.f_type == BPFFS_MAGIC)
		return;
	if (mount("bpf", BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700"))
		fail(EXIT_UNSUPPORTED, "no BPF file system at " BPFFS ": %s", strerror(errno));
}

/* One session per directory, and one with handlers per device. */
static void take_locks(const struct start_options *options)
{
	int dir = lock_dir(options->dir), stopping = stop_wait(options->dir), pins;

	take_lock(dir, options);
	close(stopping);
	write_holder(dir, options->holder);
	place_fd(dir, FD_DIR_LOCK);
	if (!options->with_handlers)
		return;
	mount_bpffs();
	pins = open(BPFFS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (pins < 0)
		fail(EXIT_UNSUPPORTED, BPFFS ": %s", strerror(errno));
	take_lock(pins, options);
	place_fd(pins, FD_PINS_LOCK);
}

static void read_policy(struct shared *shared, const char *path)
{
	lmk_v1_Policy policy;
	char why[160];
	ssize_t length;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(EXIT_USAGE, "--policy %s: %s", path, strerror(errno));
	length = read(fd, shared->policy, sizeof(shared->policy));
	close(fd);
	if (length < 0)
		fail(EXIT_USAGE, "--policy %s: %s", path, strerror(errno));
	shared->policy_bytes = (__u32)length;
	if (!policy_decode(shared->policy, (size_t)length, &policy, why, sizeof(why)))
		fail(EXIT_USAGE, "--policy %s: %s", path, why);
	shared->kill_timeout_ms = policy.timing.kill_timeout_ms;
}

static struct shared *prepare_shared(const struct start_options *options)
{
	struct shared *shared = shared_create();

	if (!shared)
		fail(EXIT_TRANSIENT, "shared memory: %s", strerror(errno));
	snprintf(shared->dir, sizeof(shared->dir), "%s", options->dir);
	snprintf(shared->build_id, sizeof(shared->build_id), "%s", options->build_id);
	snprintf(shared->device_name, sizeof(shared->device_name), "%s", options->device_name);
	snprintf(shared->holder, sizeof(shared->holder), "%s", options->holder);
	if (options->lmkd_socket)
		snprintf(shared->lmkd_socket, sizeof(shared->lmkd_socket), "%s",
			 options->lmkd_socket);
	shared->lmkd_short_killed = options->lmkd_short_killed;
	shared->with_handlers = options->with_handlers;
	shared->replace_lmkd = options->replace_lmkd;
	shared->spool_limit_kb = options->spool_limit_kb;
	shared->lease_ms = options->lease_ms;
	return shared;
}

/* From here on stderr is DIR/agent.log; what `start` itself says goes to `errors`. */
static void open_log(const char *dir)
{
	char path[128];
	int fd, null;

	snprintf(path, sizeof(path), "%s/agent.log", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (fd < 0 || null < 0)
		_exit(EXIT_USAGE);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	close(null);
}

/* The last line of the log: why the agent did not come up. */
static void fail_with_log(const char *dir)
{
	char path[128], text[4096], *line;
	ssize_t length;

	snprintf(path, sizeof(path), "%s/agent.log", dir);
	length = read_small_file(path, text, sizeof(text));
	if (length > 0 && text[length - 1] == '\n')
		text[length - 1] = 0;
	line = length > 0 ? strrchr(text, '\n') : NULL;
	fail(EXIT_BUG, "the agent did not come up: %s",
	     line	  ? line + 1
	     : length > 0 ? text
			  : "it left no word");
}

/* Nobody holds the lock: what is pinned, or noted of whom they replaced, dead ones left. */
static void clear_leftovers(struct shared *shared)
{
	if (!pins_present() && !give_back_noted(shared->dir))
		return;
	/* The killers first: from the next step on the handlers kill nobody. */
	if (give_back_killers(shared) && lmkd_silent(shared->dir))
		fail(EXIT_TRANSIENT,
		     "lmkd, which a dead agent had replaced, was started and does not answer "
		     "on " LMKD_SOCKET ": what that agent left stays until it does");
	leftovers_take(shared);
	if (give_back(shared, true))
		fail(EXIT_TRANSIENT,
		     pins_present() ? "what a dead agent left in " LMK_PIN_DIR
				      " could not be removed"
				    : "who was stopped by a dead agent is not back: agent.log "
				      "says why");
	/* The agent that comes is a first one, whatever was spooled for the dead. */
	shared->run = 0;
}

/* What can be known before anything is loaded. fail()s. */
static void check_replaceable(const struct shared *shared)
{
	lmk_v1_Policy policy;
	char why[160];

	if (!policy_decode(shared->policy, shared->policy_bytes, &policy, why, sizeof(why)))
		fail(EXIT_USAGE, "policy: %s", why);
	if (policy.dry_run)
		fail(EXIT_USAGE, "--replace-lmkd with a dry run would leave nobody who kills");
	if (lmkd_service_probe(why, sizeof(why)))
		fail(EXIT_UNSUPPORTED, "lmkd cannot be replaced: %s", why);
}

/* An agent that did not come up has said why: code, space, text. The guardian cleans up after it.
 */
static void fail_as_told(const char *dir, char *line)
{
	int code = atoi(line + 1), lock = lock_dir(dir);
	__u64 end_ns = boottime_ns() + CLEAN_UP_NS;
	char *text = strchr(line, ' ');

	while (flock(lock, LOCK_EX | LOCK_NB) && boottime_ns() < end_ns)
		usleep(10000);
	line[strcspn(line, "\n")] = 0;
	fail(code ? (enum exit_code)code : EXIT_BUG, "%s", text ? text + 1 : line);
}

int start_main(const struct start_options *options)
{
	struct shared *shared;
	char line[1024];
	ssize_t length;
	int ready[2];
	pid_t pid;

	reserve_inherited_fds();
	prepare_dir(options->dir);
	take_locks(options);
	shared = prepare_shared(options);
	if (options->with_handlers) {
		struct load_options load = {.loader = options->loader,
					    .object = options->object,
					    .assisted = options->assisted};
		int code;

		read_policy(shared, options->policy);
		if (options->replace_lmkd)
			lmkd_missed_load(shared->dir, &shared->lmkd_missed);
		clear_leftovers(shared);
		if (options->replace_lmkd)
			check_replaceable(shared);
		code = load_handlers(shared, &load);
		if (code)
			return code;
	}
	/* Every inherited number is taken by now: the pipe cannot land on one of them. */
	if (pipe2(ready, O_CLOEXEC))
		fail(EXIT_TRANSIENT, "pipe: %s", strerror(errno));
	place_fd(ready[1], FD_READY);
	lease_renew(shared, 0);
	pid = fork();
	if (pid < 0)
		fail(EXIT_TRANSIENT, "fork: %s", strerror(errno));
	if (!pid) {
		setsid();
		open_log(options->dir);
		if (options->with_handlers && !kills_without_agent(shared) &&
		    spawn_role("keeper", false) < 0)
			_exit(EXIT_TRANSIENT);
		_exit(spawn_role("guardian", true) < 0 ? EXIT_TRANSIENT : EXIT_OK);
	}
	close(FD_READY);
	close(FD_DIR_LOCK); /* held by the daemons from now on */
	close(FD_PINS_LOCK);
	do {
		length = read(ready[0], line, sizeof(line) - 1);
	} while (length < 0 && errno == EINTR);
	if (length <= 0)
		fail_with_log(options->dir);
	line[length] = 0;
	if (line[0] == START_FAILED)
		fail_as_told(options->dir, line);
	fwrite(line, 1, (size_t)length, stdout);
	return EXIT_OK;
}
