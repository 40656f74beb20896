# SPDX-License-Identifier: Apache-2.0
"""For the device lab: a test of one's own, on the device that $ANDROID_SERIAL names.

ANDROID_SERIAL=virtual pytest examples/test_neighbour.py
"""

import lmk
import lmk.policy
from lmk.workload import Eater

ONLY_OURS = lmk.policy.parse("only_uids { first: 19000 last: 19009 }")


def test_a_greedy_cached_app_dies_and_the_one_in_front_does_not() -> None:
    with lmk.connect() as device, lmk.attach(device, ONLY_OURS) as session:
        with (
            Eater(device, 20, adj=0, uid=19000, name="front"),
            Eater(device, 60_000, adj=900, uid=19001, floor_mb=0, name="greedy"),
        ):
            report = next(session.reports())
        assert (report.victim.uid, report.victim.oom_score_adj) == (19001, 900)
        assert all(later.victim.uid != 19000 for later in session.reports(follow=False))
