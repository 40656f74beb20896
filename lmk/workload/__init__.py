# SPDX-License-Identifier: Apache-2.0
"""Memory pressure on a device: an eater, a population, and the record of who died."""

from __future__ import annotations

from lmk.workload.eater import Eater, EaterState
from lmk.workload.population import Population, Row
from lmk.workload.record import Death, Life, disagreements, order_violations

__all__ = [
    "Death",
    "Eater",
    "EaterState",
    "Life",
    "Population",
    "Row",
    "disagreements",
    "order_violations",
]
