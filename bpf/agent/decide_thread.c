// SPDX-License-Identifier: Apache-2.0
#include "decide_thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "event_source.h"
#include "exit_code.h"
#include "follow.h"
#include "pageout.h"
#include "ring.h"
#include "swap.h"

/* Measured: the deepest path (a report being followed) uses under 8 KiB; locked, so small. */
#define STACK_BYTES (64 * 1024)
/* Every slot taken: the main thread, which frees them, gets the CPU for this long. */
#define SLOT_WAIT_NS (2 * NSEC_PER_MSEC)

/* A decision that could not be run at all is tried again after this. */
#define FAILED_INTERVAL_MS 100

struct decider {
	struct follower follower;
	struct ring ring;
	const struct pins *pins;
	struct assist assist;
	pthread_t thread;
	int epoll_fd;
	int stop_event;
	int main_event;
	_Atomic bool pressure_began;
	_Atomic __u64 decisions;
	bool own_timer;	   /* the handlers have none: every look is this thread's */
	__u64 next_run_ns; /* 0: no decision is due */
};

static struct decider decider;

static void tell_main(void *context)
{
	struct decider *self = context;
	__u64 one = 1;
	ssize_t written = write(self->main_event, &one, sizeof(one));

	(void)written; /* full means that it is told already */
}

static bool take_event(const void *data, size_t size, void *context)
{
	struct decider *self = context;
	const struct lmk_event_head *head = data;

	if (size < sizeof(*head) || head->size > size)
		return true;
	switch (head->type) {
	case LMK_EVENT_KILL:
		pageout_hold();
		if (size >= sizeof(struct lmk_kill_event))
			return follow_kill(&self->follower, data);
		break;
	case LMK_EVENT_EXITED:
	case LMK_EVENT_MEMORY_BACK:
	case LMK_EVENT_RETRY:
		if (size >= sizeof(struct lmk_end_event))
			follow_end(&self->follower, data);
		break;
	case LMK_EVENT_OTHER:
		if (size < sizeof(struct lmk_other_event))
			break;
		if (!others_take(self->follower.shared, data))
			return false;
		tell_main(self);
		break;
	case LMK_EVENT_PRESSURE:
		if (size < sizeof(struct lmk_pressure_event))
			break;
		if (((const struct lmk_pressure_event *)data)->under_pressure) {
			if (!self->own_timer)
				self->next_run_ns = boottime_ns();
			self->pressure_began = true;
			tell_main(self);
		}
		break;
	case LMK_EVENT_LOOK:
		self->next_run_ns = boottime_ns();
		break;
	default:
		break; /* of newer handlers; build ids keep that from happening */
	}
	return true;
}

/* One decision; whether and when the next is due is the handlers' answer. */
static void decide(struct decider *self)
{
	struct lmk_call call = {0};
	int error;

	swap_measure();
	swap_fill(&call);
	error = assist_run(&self->assist, &call);
	self->decisions++;
	if (call.outcome != LMK_OUT_CALM && call.outcome != LMK_OUT_CLAIMED)
		pageout_hold();
	self->next_run_ns = 0;
	if (error) {
		log_line("decide: %s", strerror(-error));
		call.interval_ms = FAILED_INTERVAL_MS;
	}
	if (self->own_timer || (!error && call.under_pressure))
		self->next_run_ns =
			boottime_ns() + (call.interval_ms ? call.interval_ms : 1) * NSEC_PER_MSEC;
}

/* Milliseconds until `due_ns`, rounded up; -1 for none. */
static int wait_ms(__u64 due_ns)
{
	__u64 now_ns = boottime_ns();

	if (!due_ns)
		return -1;
	if (due_ns <= now_ns)
		return 0;
	return (int)((due_ns - now_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC);
}

static bool handle(struct decider *self, const struct epoll_event *event)
{
	switch ((enum source)(event->data.u64 >> 32)) {
	case SOURCE_STOP:
		return false;
	case SOURCE_VICTIM:
		follow_exit(&self->follower, (__u32)event->data.u64);
		return true;
	default:
		return true; /* the ring is read on every turn */
	}
}

static void *run(void *context)
{
	struct decider *self = context;
	struct epoll_event events[8];
	struct lmk_agent_thread thread = {.tid = gettid()};
	__u8 stack[STACK_BYTES / 2];
	__u32 zero = 0;
	bool go_on = true, all_taken;

	pthread_setname_np(pthread_self(), "lmk-decide");
	/* Every page that the kill path may use is there before it is needed. */
	memset(stack, 0, sizeof(stack));
	__asm__ volatile("" : : "r"(stack) : "memory");
	if (bpf_map_set(self->pins->agent, &zero, &thread))
		log_line("decide: the handlers do not know the agent's thread");
	assist_prime(&self->assist);
	follow_start(&self->follower);
	while (go_on) {
		__u64 due_ns;
		int count;

		all_taken = ring_consume(&self->ring, take_event, self);
		if (self->next_run_ns && boottime_ns() >= self->next_run_ns) {
			decide(self);
			all_taken = ring_consume(&self->ring, take_event, self);
			assist_prime(&self->assist);
		}
		due_ns = follow_due(&self->follower, boottime_ns());
		if (!all_taken && (!due_ns || due_ns > boottime_ns() + SLOT_WAIT_NS))
			due_ns = boottime_ns() + SLOT_WAIT_NS;
		if (self->next_run_ns && (!due_ns || self->next_run_ns < due_ns))
			due_ns = self->next_run_ns;
		count = epoll_wait(self->epoll_fd, events, sizeof(events) / sizeof(*events),
				   wait_ms(due_ns));
		/* EINTR is usual here: the handlers borrow this thread for their kills. */
		for (int i = 0; i < count; i++)
			go_on = handle(self, &events[i]) && go_on;
	}
	thread.tid = 0;
	bpf_map_set(self->pins->agent, &zero, &thread);
	return NULL;
}

static int watch(struct decider *self, int fd, enum source source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_source(source, 0)};

	return epoll_ctl(self->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int start_thread(struct decider *self)
{
	struct sched_param first = {.sched_priority = 1};
	pthread_attr_t attributes;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	error = pthread_create(&self->thread, &attributes, run, self);
	pthread_attr_destroy(&attributes);
	if (error)
		return -error;
	error = pthread_setschedparam(self->thread, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);
	if (error) /* some cgroups give no real-time share: slower under load, not wrong */
		log_line("decide: no SCHED_FIFO: %s", strerror(error));
	return 0;
}

struct decider *decider_start(const struct pins *pins, struct shared *shared, int event)
{
	struct decider *self = &decider;
	int error;

	self->pins = pins;
	self->assist = (struct assist){.call = pins->call, .walk = pins->walk, .iter = -1};
	self->own_timer = shared->agent_timer;
	self->main_event = event;
	self->follower.shared = shared;
	self->follower.pins = pins;
	self->follower.named = tell_main;
	self->follower.done = tell_main;
	self->follower.context = self;
	self->follower.started_ns = boottime_ns();
	self->next_run_ns = boottime_ns(); /* perhaps it is under pressure right now */
	error = ring_open(&self->ring, pins->events, pins->events_bytes);
	if (error)
		goto fail;
	self->epoll_fd = self->follower.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	self->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (self->epoll_fd < 0 || self->stop_event < 0) {
		error = -errno;
		goto fail;
	}
	error = watch(self, pins->events, SOURCE_RING);
	if (!error)
		error = watch(self, self->stop_event, SOURCE_STOP);
	if (!error)
		error = start_thread(self);
	if (!error)
		return self;
fail:
	errno = -error; /* what was opened goes with the process, which ends now */
	return NULL;
}

void decider_stop(struct decider *self)
{
	__u64 one = 1;

	if (write(self->stop_event, &one, sizeof(one)) != sizeof(one))
		log_line("decide: not stopped: %s", strerror(errno));
	else
		pthread_join(self->thread, NULL);
}

bool decider_drain(struct decider *self)
{
	bool all_taken = ring_consume(&self->ring, take_event, self);

	follow_stop(&self->follower);
	return all_taken;
}

bool decider_pressure_began(struct decider *self)
{
	return atomic_exchange(&self->pressure_began, false);
}

__u64 decider_decisions(const struct decider *self)
{
	return self->decisions;
}
