# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What became of a plugin's placements: which went, which were left, and why."""
from __future__ import annotations

from typing import Any, Dict, List, Sequence, Set, Tuple

from .printable import printable

CHANGED = "changed since it was placed"
_MAX_TEXT = 500


class Report:
    """What was found so far: ``removed`` labels and ``kept`` ``{"path", "reason"}``, each once."""

    def __init__(self, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.removed: List[str] = []
        self.kept: List[Dict[str, str]] = []
        self._noted: Set[Tuple[str, ...]] = set()

    def remove(self, label: str) -> None:
        """Note that what ``label`` names goes."""
        label = printable(label, _MAX_TEXT)
        if self._is_new(label):
            self.removed.append(label)

    def keep(self, label: str, reason: str) -> None:
        """Note that what ``label`` names stays, and why."""
        entry = {"path": printable(label, _MAX_TEXT), "reason": printable(reason, _MAX_TEXT)}
        if self._is_new(entry["path"], entry["reason"]):
            self.kept.append(entry)

    def merge_versions(self, parts: Sequence[Report]) -> None:
        """Add the reports about several versions of one plugin: what is not one version's and is removed as another one's is not kept."""
        for part in parts:
            self.removed += [label for label in part.removed if self._is_new(label)]
        for part in parts:
            removed_otherwise = {label for other in parts if other is not part for label in other.removed}
            self.kept += [entry for entry in part.kept if entry["path"] not in removed_otherwise and self._is_new(entry["path"], entry["reason"])]

    def _is_new(self, *entry: str) -> bool:
        """Note the entry; False when it was noted before."""
        known = entry in self._noted
        self._noted.add(entry)
        return not known

    def as_data(self) -> Dict[str, Any]:
        """Return the result as plain data."""
        return {"removed": self.removed, "kept": self.kept}
