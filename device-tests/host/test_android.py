# SPDX-License-Identifier: Apache-2.0
"""Which LMK_PROCKILL an Android takes, by its properties."""

from __future__ import annotations

import pytest

from lmk.android import killed_form


@pytest.mark.parametrize(
    ("sdk", "build", "length"),
    [
        ("33", "TQ3A.230901.001", 12),
        ("34", "AP2A.240905.003", 12),
        ("35", "AP3A.241105.008", 12),
        ("35", "AP4A.250105.002", 16),
        ("35", "BP1A.250305.019", 16),
        ("35", "VENDOR.1", None),
        ("35", "AP3AB.1", None),
        ("35", "", None),
        ("36", "BP2A.250605.031", 16),
        ("37", "", 16),
        ("", "", 16),
        ("nonsense", "AP3A.1", None),
        ("-1", "AP3A.1", None),
        ("0", "", None),
        ("35.0", "AP3A.1", None),
        ("3" * 5000, "", None),
        ("\u0663\u0664", "", None),
        (" 34 ", "", 12),
    ],
)
def test_form_is_that_of_the_release(sdk: str, build: str, length: int | None) -> None:
    found = killed_form({"ro.build.version.sdk": sdk, "ro.build.id": build})
    assert found.length == length
    assert found.why


def test_a_level_that_is_none_is_said_as_it_was_read() -> None:
    found = killed_form({"ro.build.version.sdk": "Baklava", "ro.build.id": "AP3A.1"})
    assert found.why == "ro.build.version.sdk is 'Baklava', and that is no SDK level"


def test_device_without_properties_has_no_activity_manager() -> None:
    assert killed_form({}).length == 16
