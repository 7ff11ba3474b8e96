# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run that this process works for: Ansible's main process, which forks a worker for each task of each host, and takes its answer.

When it is killed its workers go on with their tasks, although nobody takes their answers any more, and the next run may be at work already.
"""
from __future__ import annotations

import multiprocessing
import os

from ..module_utils.errors import WorkspaceError


def process() -> int:
    """The id of the run's main process."""
    parent = multiprocessing.parent_process()
    return parent.pid or 0 if parent is not None else os.getpid()


def require_alive() -> None:
    """Raise :class:`WorkspaceError` when the run has ended and left this worker alone. To be called before each step that changes something."""
    parent = multiprocessing.parent_process()
    # Not the sentinel of multiprocessing: the other workers have inherited its end, too.
    if parent is not None and os.getppid() != parent.pid:
        raise WorkspaceError(f"the run that this task belongs to (process {parent.pid}) has ended: the task does nothing more, run again")
