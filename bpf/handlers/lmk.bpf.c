// SPDX-License-Identifier: GPL-2.0-only
/*
 * The handlers: sense memory pressure, decide, choose a process and kill it, in the kernel.
 * One object, one header per concern; each program's comment says in which context it runs.
 *
 *   kernel_types   the kernel as seen by CO-RE
 *   object         what differs from assisted.bpf.c
 *   maps           maps, knobs, state
 *   memory, psi, reclaimers   sense
 *   adj            when processes got their oom_score_adj
 *   thread         the threads of a process
 *   registered     what was said of processes over lmkd's socket
 *   rules          which rule for apps is for a process
 *   process        one process
 *   choose, walk   the walk over all processes
 *   gate, kill     one kill at a time, and the kill call
 *   judge          sample and verdict, under the claim
 *   decision       one run of it all
 *   follow         exit and memory back
 *   others         kills that are not ours
 *   reclaim        tracepoints in the allocating task
 *   carry          work queue and task work
 *   level_timer    the timer
 *   answer, calls  SYSCALL programs
 *
 * No fentry, fexit, fmod_ret, kprobe.multi or LSM: Android's kernels have no FUNCTION_TRACER.
 */
#include "adj.bpf.h"
#include "calls.bpf.h"
#include "follow.bpf.h"
#include "others.bpf.h"
#include "reclaim.bpf.h"

char LICENSE[] SEC("license") = "GPL";
