# SPDX-License-Identifier: Apache-2.0
"""The demo: a device under memory pressure, and `lmk` that keeps its foreground app alive."""
