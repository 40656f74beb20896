# SPDX-License-Identifier: Apache-2.0
"""The preset `linux`: who may die where every oom_score_adj is 0, and whom it protects."""

from __future__ import annotations

import pytest

from lmk.policy import core, parse, preset, stopped_killer
from lmk.policy.check import _FLOORS
from lmk.policy.fields import flat
from lmk.policy.model import Process, Refusal

_USER = "/user.slice/user-1000.slice"


def test_whoever_has_adj_0_may_die_for_every_reason_and_nobody_below() -> None:
    values = dict(flat(preset("linux")))
    assert {field: values[field] for field in _FLOORS} == dict.fromkeys(_FLOORS, 0)
    for adj, refusal in ((0, Refusal.NONE), (-1, Refusal.BELOW_FLOOR)):
        assert core.refusal(preset("linux"), Process(pid=9, adj=adj), 0) is refusal


def test_the_largest_goes_first_and_a_higher_adj_before_it() -> None:
    small = Process(pid=10, adj=0, anon_kb=1_000)
    large = Process(pid=11, adj=0, anon_kb=2_000, swap_kb=1_000)
    spendable = Process(pid=12, adj=500, anon_kb=1)
    order = core.choose(preset("linux"), [small, large, spendable], 0)
    assert [process.pid for process in order] == [12, 11, 10]


def test_it_stops_whichever_other_killer_runs_unless_it_only_looks() -> None:
    wanted = preset("linux")
    assert stopped_killer(wanted) == "any"
    wanted.dry_run = True
    assert stopped_killer(wanted) == "none"
    assert stopped_killer(preset("default")) == "none"
    wanted = parse("other_killer: OTHER_KILLER_SYSTEMD_OOMD")
    assert stopped_killer(wanted) == "systemd-oomd"


def test_nothing_is_moved_to_swap_at_rest() -> None:
    assert preset("linux").rest.pageout_min_score == 1001


@pytest.mark.parametrize(
    ("path", "protected"),
    [
        ("/init.scope", True),
        ("/system.slice/systemd-journald.service", True),
        ("/system.slice/dbus.service", True),
        ("/system.slice/dbus-broker.service", True),
        ("/system.slice/ssh.service", True),
        ("/system.slice/sshd.service", True),
        ("/system.slice/system-sshd.slice/sshd@3-10.0.0.1:22-10.0.0.2:5100.service", True),
        ("/system.slice/lmk.service", True),
        (f"{_USER}/session-4.scope", True),
        (f"{_USER}/user@1000.service/init.scope", True),
        (f"{_USER}/user@1000.service/session.slice/pipewire.service", True),
        (f"{_USER}/user@1000.service/app.slice/app-browser.scope", False),
        ("/system.slice/nginx.service", False),
        ("/system.slice", False),
        ("/user.slice", False),
        # Made by a user or a container, of whatever name.
        (f"{_USER}/user@1000.service/app.slice/ssh.service", False),
        (f"{_USER}/user@1000.service/init.scope.d", False),
        ("/system.slice/docker-4f2a.scope/system.slice/ssh.service", False),
        ("/system.slice/docker-4f2a.scope/init.scope", False),
    ],
)
def test_whom_its_rules_protect(path: str, protected: bool) -> None:
    names = path.split("/")
    above = ["/".join(names[:end]) for end in range(2, len(names) + 1)]
    found = [
        rule
        for rule in preset("linux").rules
        if rule.cgroup and any(core.cgroup_matches(rule.cgroup, each) for each in above)
    ]
    assert bool(found) is protected
    assert all(rule.protect for rule in found)
