# SPDX-License-Identifier: Apache-2.0
"""``tools/bench killers``: killers side by side, under the same load in the same guest.

What is compared comes from the guest's own record: the population's parent (who lived, who
died), a probe in the foreground (what it lost), and the kernel's counters and traces. No
killer's own reports have a part in it. docs/benchmarks.md says what each figure means.
"""
