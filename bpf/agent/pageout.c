// SPDX-License-Identifier: Apache-2.0
#include "pageout.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "exit_code.h"
#include "move_out.h"
#include "process.h"
#include "ring.h"
#include "swap.h"

#define STACK_BYTES (64 * 1024)
#define LOWEST_NICE 19
/* Who is waited for; of more, the rest is found by looking at all processes afterwards. */
#define WAITING_MAX 128
#define USUAL_NICE  0
#define POLICY_OFF  1001

/* A process that has been at or above the policy's score since before `due_ns`. */
struct waiting {
	pid_t pid; /* 0: free */
	__u64 start_ticks;
	__u64 due_ns;
};

static struct pageout {
	struct ring ring;
	pthread_t thread;
	int epoll_fd;
	int wake; /* eventfd */
	int registered;
	struct waiting waiting[WAITING_MAX];
	bool look_at_all; /* when calm */
	bool refused;	  /* this kernel does not let us */
	_Atomic __s32 min_score;
	_Atomic __u32 after_ms;
	_Atomic __u32 swap_free_pct;
	_Atomic __u64 held_ns; /* when a kill was last wanted */
	_Atomic bool held;     /* since all processes were looked at last */
	_Atomic pid_t tid;
	_Atomic __u64 processes;
	_Atomic __u64 kb;
} pageout = {.wake = -1, .min_score = POLICY_OFF};

static void wake(void)
{
	__u64 one = 1;
	ssize_t written = write(pageout.wake, &one, sizeof(one));

	(void)written; /* full means that it is woken already */
}

static void set_nice(int nice)
{
	if (pageout.tid && setpriority(PRIO_PROCESS, (id_t)pageout.tid, nice))
		log_line("pageout: nice %d: %s", nice, strerror(errno));
}

/*
 * The thread may be at work on the very process that is to die, whose end then waits for it: at its
 * usual priority it would come to that when nobody else has anything to do.
 */
void pageout_hold(void)
{
	pageout.held_ns = boottime_ns();
	if (pageout.min_score < POLICY_OFF && !atomic_exchange(&pageout.held, true)) {
		set_nice(USUAL_NICE);
		wake();
	}
}

void pageout_set_policy(const lmk_v1_Policy *policy)
{
	pageout.after_ms = policy->rest.pageout_after_ms;
	pageout.swap_free_pct = policy->rest.pageout_swap_free_pct;
	/* A dry run changes nothing on the device. */
	pageout.min_score = policy->dry_run ? POLICY_OFF : policy->rest.pageout_min_score;
	pageout.held_ns = boottime_ns();
	wake();
}

struct pageout_counts pageout_counts(void)
{
	return (struct pageout_counts){.processes = pageout.processes, .kb = pageout.kb};
}

static __u64 after_ns(void)
{
	return pageout.after_ms * NSEC_PER_MSEC;
}

static bool is_on(void)
{
	return !pageout.refused && pageout.min_score < POLICY_OFF;
}

/* Has no kill been wanted for so long? */
static bool is_calm(void)
{
	return boottime_ns() >= pageout.held_ns + after_ns();
}

/* Or what it counts as having (lmkd_feed.h). */
static int adj_of(pid_t pid)
{
	struct lmk_registered told;

	if (!bpf_map_get(pageout.registered, &pid, &told) && told.flags & LMK_REGISTERED_ADJ &&
	    process_is(pid, process_ticks(told.start_ns)))
		return told.adj;
	return process_oom_score_adj(pid);
}

static bool is_cached(pid_t pid)
{
	return adj_of(pid) >= pageout.min_score;
}

static struct waiting *place_of(pid_t pid)
{
	for (unsigned int i = 0; i < WAITING_MAX; i++) {
		if (pageout.waiting[i].pid == pid)
			return &pageout.waiting[i];
	}
	return NULL;
}

/* `anew`: it counts from now, even where it has been waiting. */
static void await_process(pid_t pid, bool anew)
{
	struct waiting *place = place_of(pid);
	struct process_stat stat;

	if (process_stat(pid, &stat))
		return;
	if (place && place->start_ticks == stat.start_ticks && !anew)
		return;
	if (!place)
		place = place_of(0);
	if (place)
		*place = (struct waiting){.pid = pid,
					  .start_ticks = stat.start_ticks,
					  .due_ns = boottime_ns() + after_ns()};
	else
		pageout.look_at_all = true;
}

static int await_if_cached(pid_t pid, void *context)
{
	(void)context;
	if (is_cached(pid) && process_private_kb(pid) >= MOVE_OUT_LEAST_KB)
		await_process(pid, false);
	return 0;
}

/* It is told as its score is being set: it may not have grown yet, so its size is not asked. */
static bool take_cached(const void *data, size_t size, void *context)
{
	const struct lmk_cached_event *event = data;

	(void)context;
	if (size >= sizeof(*event) && is_on())
		await_process(event->pid, true);
	return true;
}

/*
 * Of those whose time has come the last to be killed; NULL: none yet. What is in swap gives little
 * back when it is killed: whoever goes first is better left where it is while swap is short.
 */
static struct waiting *next_due(__u64 now_ns)
{
	struct waiting *best = NULL;
	int best_adj = 0;

	for (unsigned int i = 0; i < WAITING_MAX; i++) {
		struct waiting *at = &pageout.waiting[i];
		int adj;

		if (!at->pid || at->due_ns > now_ns)
			continue;
		adj = adj_of(at->pid);
		if (best && adj >= best_adj)
			continue;
		best = at;
		best_adj = adj;
	}
	return best;
}

/* When there is something to do; 0: not before somebody says so. */
static __u64 due_ns(void)
{
	__u64 due = pageout.look_at_all ? 1 : 0, calm = pageout.held_ns + after_ns();

	if (!is_on())
		return 0;
	for (unsigned int i = 0; i < WAITING_MAX; i++) {
		if (pageout.waiting[i].pid && (!due || pageout.waiting[i].due_ns < due))
			due = pageout.waiting[i].due_ns;
	}
	return due && due < calm ? calm : due;
}

static bool may_go_on(pid_t pid, bool thoroughly)
{
	return is_calm() && is_on() &&
	       (!thoroughly || (swap_has_room(pageout.swap_free_pct) && is_cached(pid)));
}

static void page_out(const struct waiting *process)
{
	__s64 moved_kb = move_out(process->pid, process->start_ticks, may_go_on);

	if (moved_kb < 0) {
		log_line("pageout: process_madvise: %s", strerror((int)-moved_kb));
		pageout.refused = true;
	} else if (moved_kb) {
		pageout.processes++;
		pageout.kb += (__u64)moved_kb;
	}
}

static void do_what_is_due(void)
{
	struct waiting *place;

	if (!is_on()) {
		memset(pageout.waiting, 0, sizeof(pageout.waiting));
		return;
	}
	set_nice(LOWEST_NICE);
	pageout.held = false; /* from here on pageout_hold() raises it, and wakes it */
	if (!is_calm()) {
		pageout.held = true;
		return;
	}
	/* Whom a kill interrupted, too: what is left of them is found again. */
	if (pageout.look_at_all) {
		pageout.look_at_all = false;
		process_each(await_if_cached, NULL);
	}
	while (is_on() && is_calm() && (place = next_due(boottime_ns()))) {
		struct waiting process = *place;

		place->pid = 0;
		page_out(&process);
	}
}

static int wait_ms(void)
{
	__u64 due = due_ns(), now_ns = boottime_ns();

	if (!due)
		return -1;
	return due <= now_ns ? 0 : (int)((due - now_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

static void *run(void *context)
{
	struct epoll_event event;

	(void)context;
	pthread_setname_np(pthread_self(), "lmk-pageout");
	pageout.tid = gettid();
	pageout.look_at_all = true;
	for (;;) {
		__u64 count;

		epoll_wait(pageout.epoll_fd, &event, 1, wait_ms());
		if (read(pageout.wake, &count, sizeof(count)) > 0)
			pageout.look_at_all = true;
		ring_consume(&pageout.ring, take_cached, NULL);
		do_what_is_due();
	}
	return NULL;
}

static int watch(int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(pageout.epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int pageout_start(const struct pins *pins)
{
	pthread_attr_t attributes;
	int error = ring_open(&pageout.ring, pins->cached, pins->cached_bytes);

	if (error)
		return error;
	pageout.registered = pins->registered;
	pageout.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	pageout.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pageout.epoll_fd < 0 || pageout.wake < 0)
		return -errno;
	error = watch(pins->cached);
	if (!error)
		error = watch(pageout.wake);
	if (error)
		return error;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	error = pthread_create(&pageout.thread, &attributes, run, NULL);
	pthread_attr_destroy(&attributes);
	return -error;
}
