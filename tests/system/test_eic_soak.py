# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A short soak: faults that pass are nobody's business, nothing runs twice, nothing stays. ``tests/soak`` is the long one."""
from __future__ import annotations

from eic_soak import holds, soak
from lab.api import Lab


def test_faults_that_pass_lose_nothing_repeat_nothing_and_leave_nothing(lab: Lab) -> None:
    others = lab.counters()["tunnels_open"]
    result = soak(lab, size=4, tasks_per_host=6, percent=8, forks=4, quota=3, budget=2, persist=3)
    print(result.table())
    assert result.retries > 0
    assert holds(result), result.table()
    assert result.peak <= 3 + others
