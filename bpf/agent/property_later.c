// SPDX-License-Identifier: Apache-2.0
#include "property_later.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "exit_code.h"
#include "property.h"

#define NAME_BYTES  64
#define WAITING	    4
#define STACK_BYTES (128 * 1024)

struct property {
	char name[NAME_BYTES];
	char value[PROPERTY_BYTES];
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct property waiting[WAITING]; /* the oldest first */
	unsigned int count;
	bool runs;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static struct property take(void)
{
	struct property first;

	pthread_mutex_lock(&queue.lock);
	while (!queue.count)
		pthread_cond_wait(&queue.more, &queue.lock);
	first = queue.waiting[0];
	queue.count--;
	memmove(queue.waiting, queue.waiting + 1, queue.count * sizeof(queue.waiting[0]));
	pthread_mutex_unlock(&queue.lock);
	return first;
}

static void *run(void *context)
{
	(void)context;
	pthread_setname_np(pthread_self(), "lmk-property");
	for (;;) {
		struct property next = take();
		int error = property_set(next.name, next.value);

		if (error)
			log_line("setprop %s '%s': %s", next.name, next.value, strerror(-error));
	}
	return NULL;
}

/* With the lock. */
static int start(void)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	if (queue.runs)
		return 0;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attributes, run, NULL);
	pthread_attr_destroy(&attributes);
	queue.runs = !error;
	return -error;
}

/* With the lock. The one that waits under that name, or a new one; NULL: no room. */
static struct property *place(const char *name)
{
	for (unsigned int i = 0; i < queue.count; i++) {
		if (!strcmp(queue.waiting[i].name, name))
			return &queue.waiting[i];
	}
	return queue.count < WAITING ? &queue.waiting[queue.count++] : NULL;
}

int property_set_later(const char *name, const char *value)
{
	struct property *mine;
	int error;

	pthread_mutex_lock(&queue.lock);
	error = start();
	mine = error ? NULL : place(name);
	if (mine) {
		snprintf(mine->name, sizeof(mine->name), "%s", name);
		snprintf(mine->value, sizeof(mine->value), "%s", value);
		pthread_cond_signal(&queue.more);
	} else if (!error) {
		error = -ENOSPC;
	}
	pthread_mutex_unlock(&queue.lock);
	return error;
}
