# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory keeps of a fleet, as plain data: what the sources said, for a while, and whom the last complete inventory knew, without an end.

Where it is kept is up to Ansible's cache plugins. No input or output here.
"""
from __future__ import annotations

import dataclasses
import os
import typing as t

from . import fleet_backends, fleet_merge, fleet_sources
from .fleet_records import Answer

_VERSION = 3


@dataclasses.dataclass(frozen=True)
class Identity:
    """What an entry is for: a salted digest of the configuration, and of who asks. No secret can be read out of it."""

    digest: str
    salt: bytes

    @classmethod
    def of(cls, sources: t.Sequence[fleet_sources.Source], path: str) -> Identity:
        """That of these sources of the configuration file ``path``, as everything is now."""
        salt = os.urandom(16)
        return cls(fleet_sources.digest(sources, path, salt), salt)


def entry(identity: Identity, answers: t.Mapping[str, Answer], looked_up_at: int) -> dict[str, t.Any]:
    """The entry for answers by source, given at ``looked_up_at`` (seconds since 1970)."""
    return {
        "version": _VERSION,
        "digest": identity.digest,
        "salt": identity.salt.hex(),
        "looked_up_at": looked_up_at,
        "answers": {name: answer.to_data() for name, answer in answers.items()},
    }


def answers(kept: t.Mapping[str, t.Any], sources: t.Sequence[fleet_sources.Source], path: str) -> tuple[dict[str, Answer], int]:
    """What an entry holds for these sources, and when they said it; raises ``KeyError``, ``TypeError`` or ``ValueError`` if it is not for them."""
    if kept["version"] != _VERSION or kept["digest"] != fleet_sources.digest(sources, path, bytes.fromhex(kept["salt"])):
        raise ValueError("the entry is for another configuration")
    return {source.name: Answer.from_data(kept["answers"][source.name]) for source in sources}, int(kept["looked_up_at"])


def memory(sources: t.Sequence[fleet_sources.Source], located: t.Iterable[fleet_backends.Located]) -> dict[str, t.Any]:
    """What is remembered of a complete inventory: its workspaces, and where its sources looked."""
    known = {each.workspace.workspace_id: {"sources": each.workspace.sources, "fields": each.workspace.fields} for each in located}
    return {"places": fleet_sources.places(sources), "workspaces": known}


def missing(
    remembered: t.Mapping[str, t.Any], sources: t.Sequence[fleet_sources.Source], failed: t.AbstractSet[str], found: t.Container[str]
) -> list[fleet_merge.FleetWorkspace]:
    """The remembered workspaces of sources that ``failed`` (names) which are not among the ``found`` (ids).

    A source that looks elsewhere now does not remember what it found there.
    """
    places = fleet_sources.places(sources)
    same = {name for name in failed if remembered.get("places", {}).get(name) == places[name]}
    return [
        fleet_merge.FleetWorkspace(workspace_id, sources=known["sources"], fields=known["fields"])
        for workspace_id, known in remembered.get("workspaces", {}).items()
        if workspace_id not in found and same.intersection(known["sources"])
    ]
