# SPDX-License-Identifier: Apache-2.0
"""What only a device's Android can say, by its properties."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KILLED_LENGTHS", "KilledForm", "killed_form"]

#: The Android of the SDK level in which the packet grew between two of its releases.
_GREW_IN_SDK = 35
_SHORT, _LONG = KILLED_LENGTHS = 12, 16
#: Of Android; a device of a later level than these digits hold is not to be expected.
_SDK_LEVEL = re.compile(r"[1-9][0-9]{0,3}")
#: How build ids of Android 15 begin, by its quarterly releases: source.android.com's table of
#: build numbers. The first has the short packet, those after it the long one.
_BUILDS = {"AP3A": _SHORT, "AP4A": _LONG, "BP1A": _LONG}


@dataclass(frozen=True, slots=True)
class KilledForm:
    """Which packet ActivityManager takes for LMK_PROCKILL; of another length it takes none.

    :ivar length: in bytes: 12 (pid, uid), 16 (and rss_kb); None where nobody but the user knows.
    :ivar why: by which property.
    """

    length: int | None
    why: str


def killed_form(properties: Mapping[str, str]) -> KilledForm:
    """The form that the Android of a device with these properties takes.

    A device without Android (the property is not set) has no ActivityManager: it gets the newest
    form. One whose property is no SDK level may be any Android.
    """
    level = properties.get("ro.build.version.sdk", "").strip()
    if not level:
        return KilledForm(_LONG, "no ro.build.version.sdk: no Android")
    if not _SDK_LEVEL.fullmatch(level):
        return KilledForm(None, f"ro.build.version.sdk is {level!r}, and that is no SDK level")
    if int(level) != _GREW_IN_SDK:
        length = _SHORT if int(level) < _GREW_IN_SDK else _LONG
        return KilledForm(length, f"ro.build.version.sdk is {level}")
    build = properties.get("ro.build.id", "")
    known = _BUILDS.get(build.partition(".")[0])
    if known is None:
        return KilledForm(
            None, f"ro.build.version.sdk is 35, and ro.build.id {build!r} says no release of it"
        )
    return KilledForm(known, f"ro.build.version.sdk is 35, ro.build.id {build}")
