# SPDX-License-Identifier: Apache-2.0
"""Benchmarks behind ``tools/bench``: figures of a device, as a table and as JSON."""
