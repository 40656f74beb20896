# SPDX-License-Identifier: Apache-2.0
"""An Android-like population: a phone's processes, scaled to the memory of the device.

The adj classes are ActivityManager's (ProcessList.java): system -900, persistent -800,
foreground 0, visible 100, perceptible 200, service 500, home 600, previous 700,
service B 800, cached 900..999. Sizes are of the order that `dumpsys meminfo` shows for
such processes on a phone with 4 GB; what counts is their proportion.
"""

from __future__ import annotations

from dataclasses import dataclass

from lmk.workload.population import Row

__all__ = ["FIRST_UID", "FOREGROUND", "LAST_UID", "Scene", "android_like"]

#: Uids that the population has for itself: above Android's apps (10000..19999), SDK
#: sandboxes (20000..29999) and isolated processes (90000..98999), below user 1 (100000).
FIRST_UID, LAST_UID = 99000, 99099

#: The app in front: the one that must not die.
FOREGROUND = "com.example.camera"

# name, adj, size on a 4 GB phone in MB, milliseconds to go round its memory (0: idle)
_PHONE = (
    ("com.example.news", 999, 70, 0),
    ("com.example.weather", 990, 60, 0),
    ("com.example.shop", 981, 110, 0),
    ("com.example.bank", 972, 90, 0),
    ("com.example.podcast", 963, 80, 0),
    ("com.example.notes", 954, 50, 0),
    ("com.example.travel", 945, 100, 0),
    ("com.example.fitness", 936, 70, 0),
    ("com.example.video", 927, 140, 0),
    ("com.example.photos", 918, 120, 0),
    ("com.example.games", 909, 160, 0),
    ("com.example.maps", 900, 130, 0),
    ("com.example.backup", 800, 50, 0),
    ("com.example.browser", 700, 180, 0),
    ("com.example.launcher", 600, 110, 0),
    ("com.example.sync", 500, 50, 10_000),
    ("com.example.music", 200, 80, 5_000),
    ("com.example.keyboard", 100, 70, 5_000),
    ("com.example.phone", -800, 60, 10_000),
    ("com.example.systemui", -800, 160, 5_000),
    ("com.example.system", -900, 240, 5_000),
    (FOREGROUND, 0, 180, 1_000),
)
#: Share of MemTotal that is still available once all of them run: memory and swap are
#: nearly comfortable, and well above the default policy's scarcity bound (12 %).
_LEFT_PCT = 28
#: How far the foreground app goes: what is available, most of what cached apps have …
_GROWTH_CACHED_PCT = 85
#: … and this share of the swap, so that the kernel has to swap while it grows.
_GROWTH_SWAP_PCT = 5
#: Seconds for that growth: a camera app that opens a burst, not a runaway loop.
_GROWTH_S = 6
#: No process smaller than that: an empty one is this size already.
_SMALLEST_KB = 2048


@dataclass(frozen=True, slots=True)
class Scene:
    """A population, and how its foreground app is to grow.

    :ivar rows: in the order in which they are started: the longest unused first.
    """

    rows: tuple[Row, ...]
    growth_mb: int
    rate_mb_per_s: int


def android_like(total_kb: int, available_kb: int, swap_kb: int) -> Scene:
    """The population for a device, and a growth that memory cannot hold.

    :param total_kb: MemTotal.
    :param available_kb: MemAvailable before it starts.
    :param swap_kb: SwapTotal.
    """
    phone_kb = sum(size_mb for _, _, size_mb, _ in _PHONE) * 1024
    left_kb = min(total_kb * _LEFT_PCT // 100, available_kb // 2)
    # A phone's own sizes at most: a device with more memory has more left, not larger apps.
    scale = min(1.0, (available_kb - left_kb) / phone_kb)
    rows = tuple(
        Row(
            name,
            FIRST_UID + index,
            adj,
            size_kb=max(_SMALLEST_KB, int(size_mb * 1024 * scale)),
            touch_ms=touch_ms,
        )
        for index, (name, adj, size_mb, touch_ms) in enumerate(_PHONE)
    )
    cached_kb = sum(row.size_kb for row in rows if row.adj >= 900)
    used_kb = sum(row.size_kb for row in rows)
    growth_kb = (
        max(0, available_kb - used_kb)
        + cached_kb * _GROWTH_CACHED_PCT // 100
        + swap_kb * _GROWTH_SWAP_PCT // 100
    )
    growth_mb = max(16, growth_kb // 1024)
    return Scene(rows, growth_mb, max(8, growth_mb // _GROWTH_S))
