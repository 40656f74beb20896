// SPDX-License-Identifier: Apache-2.0
#include "fill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "clock.h"
#include "exit_code.h"
#include "kill.h"
#include "record.h"
#include "session_file.h"
#include "spool.h"
#include "start.h"

static void fill_process(struct lmk_process *process, __s32 pid)
{
	*process = (struct lmk_process){
		.start_ns = boottime_ns() - 90 * NSEC_PER_SEC,
		.anon_kb = 153428,
		.file_kb = 40960,
		.shmem_kb = 1024,
		.swap_kb = 65536,
		.pgtables_kb = 1212,
		.min_flt = 104233,
		.maj_flt = 1042,
		.pid = pid,
		.tid = pid,
		.uid = 10123,
		.adj = 900,
		.threads = 42,
		.comm = "filled.example",
	};
}

static void fill_sample(struct lmk_sample *sample)
{
	*sample = (struct lmk_sample){
		.time_ns = boottime_ns(),
		.total_kb = 786432,
		.free_kb = 20480,
		.available_kb = 40960,
		.wmark_min_kb = 11264,
		.wmark_low_kb = 14080,
		.wmark_high_kb = 16896,
		.swap_total_kb = 393216,
		.swap_free_kb = 12288,
		.file_kb = 61440,
		.anon_kb = 409600,
		.shmem_kb = 4096,
		.slab_reclaimable_kb = 20480,
		.psi_some_total_us = 4123456,
		.psi_full_total_us = 2123456,
		.psi_some_window_us = 312345,
		.psi_full_window_us = 112345,
		.refault_file = 104857,
		.refault_anon = 52428,
		.direct_reclaimers = 3,
		.kswapd_awake = 1,
		.known = LMK_KNOWN_AVAILABLE | LMK_KNOWN_SWAP | LMK_KNOWN_PSI | LMK_KNOWN_REFAULTS,
	};
}

/* Every field that a kill on a device without Android fills, five candidates among them. */
static void fill_kill(struct kill *kill)
{
	struct lmk_kill_event *event = &kill->event;
	__u64 now_ns = boottime_ns();

	memset(kill, 0, sizeof(*kill));
	fill_process(&event->victim, 4242);
	fill_sample(&event->sample);
	fill_sample(&kill->after);
	snprintf(kill->victim_name, PROCESS_NAME, "com.example.filled.application:process");
	for (int i = 0; i < LMK_CANDIDATES; i++) {
		fill_process(&event->candidates[i], 4243 + i);
		snprintf(kill->candidate_names[i], PROCESS_NAME, "com.example.filled.candidate%d",
			 i);
	}
	event->n_candidates = LMK_CANDIDATES;
	event->seen_ns = now_ns - 90000000;
	event->gated_ns = 1000;
	event->decided_ns = event->seen_ns + 300000;
	event->signalled_ns = event->seen_ns + 400000;
	event->path = LMK_PATH_IN_KERNEL;
	event->carrier = LMK_CARRIER_SYSCALL;
	event->processes_seen = 120;
	event->processes_eligible = 14;
	event->verdict = (struct lmk_verdict){
		.reason = LMK_REASON_LOW_MEM_AND_SWAP,
		.floor = 201,
		.breached = LMK_SIGNAL_AVAILABLE | LMK_SIGNAL_SWAP,
		.free_limit_kb = 16896,
		.available_limit_kb = 94371,
		.swap_limit_kb = 39321,
		.some_limit_us = 100000,
		.full_limit_us = 700000,
	};
	kill->attempts = 1;
	kill->memory_back = MEMORY_BACK_MRELEASE;
	kill->mrelease_begin_ns = event->signalled_ns + 50000;
	kill->mrelease_end_ns = now_ns - 10000000;
	kill->memory_back_ns = kill->mrelease_end_ns;
	kill->exited_ns = now_ns - 5000000;
	kill->left_known = kill->after_known = 1;
	kill->left_kb = 120;
}

static int lock_out_agents(const char *dir)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB))
		fail(EXIT_USAGE, "a session is running in %s: fill another directory", dir);
	return fd;
}

int fill_main(const char *dir, __u64 count, bool full, __u32 spool_limit_kb)
{
	static __u8 payload[lmk_v1_Record_size];
	static struct spool spool;
	static struct kill kill;
	char boot_id[40];
	__u64 bytes = 0;
	int lock, error;

	prepare_dir(dir);
	lock = lock_out_agents(dir);
	error = read_boot_id(boot_id);
	if (!error)
		error = spool_open(&spool, dir, boot_id, spool_limit_kb);
	if (error)
		fail(EXIT_TRANSIENT, "%s/spool: %s", dir, strerror(-error));
	spool_begin_run(&spool, 0);
	fill_kill(&kill);
	for (__u64 i = 1; i <= count; i++) {
		size_t length;

		kill.event.kill_id = i;
		length = full ? record_kill(payload, spool.run, spool.next_seq, &kill, NULL)
			      : record_lifecycle(payload, spool.run, spool.next_seq,
						 lmk_v1_Lifecycle_Kind_FILL, NULL, NULL, "");
		error = spool_append(&spool, payload, length);
		if (error)
			fail(EXIT_TRANSIENT, "%s/spool: %s", dir, strerror(-error));
		bytes += length;
	}
	printf("{\"run\": %u, \"records\": %llu, \"payload_bytes\": %llu, \"first_seq\": %llu, "
	       "\"spool_bytes\": %llu}\n",
	       spool.run, count, bytes, spool_first_seq(&spool, spool.run), spool.total_bytes);
	spool_close(&spool);
	close(lock);
	return EXIT_OK;
}
