# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few deaths of runs and of what they run on. ``tests/reliability/run-deaths`` is the long form."""
from __future__ import annotations

import os

from deaths import ENDING, VICTIMS, campaign, plan, table
from lab.api import Lab
from workspaces import DOCKER_WORKSPACE, EIC_WORKSPACE

KILLS = 8


def test_every_kind_of_victim_has_its_turn() -> None:
    planned = [victim for victims in plan(96, 1) for victim in victims]
    assert len(planned) == 96 and {planned.count(victim) for victim in ENDING} == {8} and {planned.count(victim) for victim in VICTIMS} == {8, 18}
    assert all(victim not in ENDING for victims in plan(96, 1) for victim in victims[:-1])


def test_a_clean_run_puts_right_whatever_died(lab: Lab) -> None:
    rounds = campaign(lab, [DOCKER_WORKSPACE, EIC_WORKSPACE], KILLS, int(os.environ.get("RELIABILITY_SEED", "1")))
    assert [failure for each in rounds for failure in each.failures] == []
    total = table(rounds)[-1]
    assert total[1] == KILLS and total[3] > 0
