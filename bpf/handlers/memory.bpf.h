/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory of the whole device, read from the kernel's own zones and nodes. Runs in any context.
 *
 * Nothing here needs kallsyms, which kptr_restrict=2 hides: the nodes are found through the
 * memory cgroup of the task that starts the handlers, and per-CPU offsets by subtracting a typed
 * per-CPU symbol from its own address on that CPU. Figures are the kernel's global counters
 * without the CPUs' pending parts, as in /proc/meminfo.
 */
#ifndef LMK_MEMORY_BPF_H
#define LMK_MEMORY_BPF_H

#include "maps.bpf.h"

/* Swap figures the agent passed are believed for this long; how well pages compress changes less.
 */
#define SWAP_FRESH_NS	     (10 * 1000 * LMK_MS)
#define COMPRESSION_FRESH_NS (300 * 1000 * LMK_MS)
/* MAX_NR_ZONES is at most 6 (DMA, DMA32, Normal, HighMem, Movable, Device). */
#define ZONES_MAX 6

/*
 * Addresses of variables that BTF does not describe; 0: hidden by kptr_restrict=2, or not there.
 * Asked of the kernel in lmk_call: as untyped ksyms, libbpf would read all of /proc/kallsyms for
 * them, a second or more on a slow device.
 */
struct {
	__u64 node_data;
	__u64 nr_swap_pages;
	__u64 total_swap_pages;
} symbols;

__u64 nodes[LMK_NODES_MAX];
__u64 percpu_offset[LMK_CPUS_MAX];
__u32 cpu_count;

static __always_inline __u64 read_u64(__u64 address)
{
	__u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (const void *)address);
	return value;
}

/* A counter that lags behind on its CPUs can read below zero. */
static __always_inline __u64 read_counter(__u64 address)
{
	__s64 value = (__s64)read_u64(address);

	return value > 0 ? (__u64)value : 0;
}

static __always_inline __u64 node_stat(__u64 node, __u32 item)
{
	return read_counter(node + bpf_core_field_offset(struct pglist_data, vm_stat) + item * 8) *
	       page_kb;
}

static __always_inline __u64 address_of(const char *name, int size)
{
	__u64 address = 0;

	return bpf_kallsyms_lookup_name(name, size, 0, &address) ? 0 : address;
}

/* SYSCALL programs only. */
static __always_inline void find_symbols(void)
{
	static const char node_data[] = "node_data";
	static const char nr_swap_pages[] = "nr_swap_pages";
	static const char total_swap_pages[] = "total_swap_pages";

	symbols.node_data = address_of(node_data, sizeof(node_data));
	symbols.nr_swap_pages = address_of(nr_swap_pages, sizeof(nr_swap_pages));
	symbols.total_swap_pages = address_of(total_swap_pages, sizeof(total_swap_pages));
}

__noinline int find_nodes(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 css = 0, per_node;
	__u32 i;

	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		css = read_u64((__u64)task->cgroups +
			       bpf_core_field_offset(struct css_set, subsys) +
			       8 * bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
	lmk_for (i, 0, LMK_NODES_MAX) {
		__u64 node = 0;

		if (i >= node_count)
			break;
		/* css is the first member of struct mem_cgroup. */
		if (css) {
			per_node = read_u64(
				css + bpf_core_field_offset(struct mem_cgroup, nodeinfo) + 8 * i);
			if (per_node)
				node = read_u64(
					per_node +
					bpf_core_field_offset(struct mem_cgroup_per_node, lruvec) +
					bpf_core_field_offset(struct lruvec, pgdat));
		}
		if (!node && symbols.node_data)
			node = read_u64(symbols.node_data + 8 * i);
		nodes[i & (LMK_NODES_MAX - 1)] = node;
	}
	/* A counter in the loop would keep the verifier from seeing that it repeats itself. */
	return nodes[0] || nodes[1] || nodes[2] || nodes[3] ? 0 : -ENOENT;
}

/*
 * Privileged programs may subtract pointers; the result is the kernel's __per_cpu_offset. Without
 * (see psi.bpf.h) a resident set is read without what its CPUs have not folded in.
 */
__noinline int find_percpu_offsets(void)
{
	__u32 cpu;

	if (!bpf_ksym_exists(&runqueues))
		return 0;
	lmk_for (cpu, 0, LMK_CPUS_MAX) {
		const struct rq *rq = bpf_per_cpu_ptr(&runqueues, cpu);

		if (!rq)
			break;
		percpu_offset[cpu & (LMK_CPUS_MAX - 1)] =
			(__u64)((const char *)rq - (const char *)&runqueues);
		cpu_count = cpu + 1;
	}
	return cpu_count ? 0 : -ENOENT;
}

/* enum lmk_level of one zone: what the allocator finds there for any page a process may use. */
static __always_inline __u32 zone_level(__u64 free, const __u64 *mark, __u64 reserve)
{
	if (free < mark[0] + reserve)
		return LMK_LEVEL_MIN;
	if (free < mark[1] + reserve)
		return LMK_LEVEL_LOW;
	return free < mark[2] + reserve ? LMK_LEVEL_HIGH : LMK_LEVEL_NONE;
}

/* The largest lowmem_reserve: pages that a zone keeps from allocations that could go elsewhere. */
static __always_inline __u64 zone_reserve(__u64 zone)
{
	__s64 reserve[ZONES_MAX] = {};
	__u64 largest = 0;

	bpf_probe_read_kernel(
		reserve, bpf_core_enum_value(enum zone_type, __MAX_NR_ZONES) * sizeof(reserve[0]),
		(const void *)(zone + bpf_core_field_offset(struct zone, lowmem_reserve)));
	for (int i = 0; i < ZONES_MAX; i++) {
		if (reserve[i] > (__s64)largest)
			largest = (__u64)reserve[i];
	}
	return largest;
}

static __always_inline __u64 zone_stat(__u64 zone, __u32 item)
{
	return read_counter(zone + bpf_core_field_offset(struct zone, vm_stat) + item * 8);
}

/* Adds what one populated zone has, in the sums of /proc/zoneinfo. */
__noinline int add_zone(struct lmk_sample *sample, __u64 zone, __u64 managed)
{
	__u64 free = zone_stat(zone, bpf_core_enum_value(enum zone_stat_item, NR_FREE_PAGES));
	__u64 mark[3] = {}, boost, reserve = zone_reserve(zone), cma = 0;
	__u32 level;

	if (!sample)
		return -EINVAL;
	bpf_probe_read_kernel(
		mark, sizeof(mark),
		(const void *)(zone + bpf_core_field_offset(struct zone, _watermark)));
	/* What the allocator really compares with: mark + boost. */
	boost = read_u64(zone + bpf_core_field_offset(struct zone, watermark_boost));
	for (int i = 0; i < 3; i++)
		mark[i] += boost;
	if (bpf_core_enum_value_exists(enum zone_stat_item, NR_FREE_CMA_PAGES))
		cma = zone_stat(zone, bpf_core_enum_value(enum zone_stat_item, NR_FREE_CMA_PAGES));
	sample->total_kb += managed * page_kb;
	sample->free_kb += free * page_kb;
	sample->cma_free_kb += cma * page_kb;
	sample->wmark_min_kb += mark[0] * page_kb;
	sample->wmark_low_kb += mark[1] * page_kb;
	sample->wmark_high_kb += mark[2] * page_kb;
	sample->protection_kb += reserve * page_kb;
	level = zone_level(free > cma ? free - cma : 0, mark, reserve);
	if (level < sample->zones_below)
		sample->zones_below = level;
	return 0;
}

/* The populated zones of one node. */
__noinline int add_zones(struct lmk_sample *sample, __u64 node)
{
	__u32 i;

	if (!sample)
		return -EINVAL;
	lmk_for (i, 0, bpf_core_enum_value(enum zone_type, __MAX_NR_ZONES)) {
		__u64 zone = node + bpf_core_field_offset(struct pglist_data, node_zones) +
			     i * (__u64)bpf_core_type_size(struct zone);
		__u64 managed =
			read_counter(zone + bpf_core_field_offset(struct zone, managed_pages));

		if (managed)
			add_zone(sample, zone, managed);
	}
	return 0;
}

/* si_mem_available() of mm/show_mem.c. */
static __always_inline __u64 available_kb(const struct lmk_sample *sample, __u64 reserve_kb,
					  __u64 misc_reclaimable_kb)
{
	__u64 cache = sample->file_kb, slab = sample->slab_reclaimable_kb + misc_reclaimable_kb;
	__u64 kept_cache = cache / 2, kept_slab = slab / 2, sum;

	if (kept_cache > sample->wmark_low_kb)
		kept_cache = sample->wmark_low_kb;
	if (kept_slab > sample->wmark_low_kb)
		kept_slab = sample->wmark_low_kb;
	sum = sample->free_kb + cache - kept_cache + slab - kept_slab;
	return sum > reserve_kb ? sum - reserve_kb : 0;
}

static __always_inline void sense_swap(struct lmk_sample *sample)
{
	if (symbols.nr_swap_pages && symbols.total_swap_pages) {
		sample->swap_total_kb = read_counter(symbols.total_swap_pages) * page_kb;
		sample->swap_free_kb = read_counter(symbols.nr_swap_pages) * page_kb;
		sample->known |= LMK_KNOWN_SWAP;
	} else if (state.swap_ns && sample->time_ns - state.swap_ns < SWAP_FRESH_NS) {
		sample->swap_total_kb = state.swap_total_kb;
		sample->swap_free_kb = state.swap_free_kb;
		sample->known |= LMK_KNOWN_SWAP;
	}
	if (state.compression_pct &&
	    sample->time_ns - state.compression_ns < COMPRESSION_FRESH_NS) {
		sample->compression_pct = state.compression_pct;
		sample->known |= LMK_KNOWN_COMPRESSION;
	}
}

/* What one node has beside its zones, and who reclaims there. */
static __always_inline void add_node(struct lmk_sample *sample, __u64 node, __u64 *misc_kb)
{
	__u64 inactive_file =
		node_stat(node, bpf_core_enum_value(enum node_stat_item, NR_INACTIVE_FILE));
	__u64 wait;

	sample->inactive_file_kb += inactive_file;
	sample->file_kb += inactive_file + node_stat(node, bpf_core_enum_value(enum node_stat_item,
									       NR_ACTIVE_FILE));
	sample->anon_lru_kb +=
		node_stat(node, bpf_core_enum_value(enum node_stat_item, NR_INACTIVE_ANON)) +
		node_stat(node, bpf_core_enum_value(enum node_stat_item, NR_ACTIVE_ANON));
	sample->dirty_kb +=
		node_stat(node, bpf_core_enum_value(enum node_stat_item, NR_FILE_DIRTY));
	sample->anon_kb +=
		node_stat(node, bpf_core_enum_value(enum node_stat_item, NR_ANON_MAPPED));
	sample->shmem_kb += node_stat(node, bpf_core_enum_value(enum node_stat_item, NR_SHMEM));
	sample->slab_reclaimable_kb +=
		node_stat(node, bpf_core_enum_value(enum node_stat_item, NR_SLAB_RECLAIMABLE_B));
	*misc_kb += node_stat(node,
			      bpf_core_enum_value(enum node_stat_item, NR_KERNEL_MISC_RECLAIMABLE));
	sample->refault_file +=
		node_stat(node, bpf_core_enum_value(enum node_stat_item, WORKINGSET_REFAULT_FILE)) /
		page_kb;
	sample->refault_anon +=
		node_stat(node, bpf_core_enum_value(enum node_stat_item, WORKINGSET_REFAULT_ANON)) /
		page_kb;
	/* kswapd sleeps on this queue and nobody else does: empty means awake. */
	wait = node + bpf_core_field_offset(struct pglist_data, kswapd_wait) +
	       bpf_core_field_offset(struct wait_queue_head, head);
	if (read_u64(wait) == wait)
		sample->kswapd_awake = 1;
}

/*
 * Everything of the sample but what needs a memory of its own (PSI, reclaim). Changes no shared
 * state: callable without the claim.
 */
__noinline int sense_memory(struct lmk_sample *sample)
{
	__u64 reserve_kb = 0, misc_kb = 0;
	__u32 i;

	if (!sample)
		return -EINVAL;
	__builtin_memset(sample, 0, sizeof(*sample));
	sample->time_ns = bpf_ktime_get_boot_ns();
	sample->page_kb = page_kb;
	sample->zones_below = LMK_LEVEL_MIN;
	lmk_for (i, 0, LMK_NODES_MAX) {
		__u64 node = nodes[i & (LMK_NODES_MAX - 1)];

		if (!node)
			continue;
		add_zones(sample, node);
		add_node(sample, node, &misc_kb);
		reserve_kb += read_u64(node + bpf_core_field_offset(struct pglist_data,
								    totalreserve_pages)) *
			      page_kb;
	}
	if (!sample->total_kb)
		return -ENOENT;
	sample->available_kb = available_kb(sample, reserve_kb, misc_kb);
	sample->known |= LMK_KNOWN_AVAILABLE | LMK_KNOWN_REFAULTS;
	sample->direct_reclaimers =
		state.direct_reclaimers > 0 ? (__u32)state.direct_reclaimers : 0;
	sense_swap(sample);
	return 0;
}

#endif
