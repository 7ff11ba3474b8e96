# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How cost grows with the number of workspaces: wall, CPU and memory of a no-op task at two sizes."""
from __future__ import annotations

from typing import Any

import fleets
import measure
from measure import Contestant


def measured(small: int, large: int, rounds: int) -> list[dict[str, Any]]:
    """Both sizes in one fleet, in turn, so that they are comparable."""
    with fleets.fleet(large) as fleet:
        fleet.ping()
        few = ["--limit", f"workspaces[0:{small - 1}]"]
        one = ["--limit", fleet.hosts.names[0]]
        contestants = [
            Contestant("1", "1 workspace", lambda: fleet.play(fleet.task, *one)),
            Contestant(str(small), f"{small} workspaces", lambda: fleet.play(fleet.task, *few)),
            Contestant(str(large), f"{large} workspaces", lambda: fleet.play(fleet.task), check=fleet.unchanged),
        ]
        results = measure.compare(contestants, rounds)
    return [{"scenario": "scale", "small": small, "large": large, "results": {name: each.data() for name, each in results.items()}}]
