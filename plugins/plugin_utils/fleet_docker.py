# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker engine as a source of an inventory: the containers that are, or could be, workspaces."""
from __future__ import annotations

import typing as t

from . import backend_evidence, docker_engine
from .fleet_records import Answer

MANAGED_LABEL = "molecule.platform.managed"


def ask(parameters: t.Mapping[str, t.Any]) -> Answer:
    """List the engine's containers; a failure is part of the answer, only options that cannot work raise ``InvalidInputError``.

    No label has the workspace's id, so which container belongs to which workspace is told by its name, when all sources have answered.
    """
    options = docker_engine.EngineOptions.from_parameters(parameters)
    try:
        listing = docker_engine.all_containers(options)
    except docker_engine.EngineError as error:
        return Answer(failure=str(error))
    candidates = [container for container in listing if _is_candidate(container)]
    return Answer(containers=backend_evidence.by_name(candidates, "State"), container_ids=backend_evidence.by_name(candidates, "Id"))


def _is_candidate(container: t.Mapping[str, t.Any]) -> bool:
    """Anything but what another program manages: the container of a workspace may have any name that an operator gave, and old ones have no label."""
    managed: str = (container.get("Labels") or {}).get(MANAGED_LABEL, "true")
    return managed == "true"
