# SPDX-License-Identifier: Apache-2.0
"""What tests send to a device and expect back."""

from __future__ import annotations

import hashlib

__all__ = ["MIB", "pseudo_random"]

MIB = 1024 * 1024


def pseudo_random(count: int) -> bytes:
    """`count` bytes that no layer compresses, the same every time."""
    return hashlib.shake_128(b"lmk").digest(count)
