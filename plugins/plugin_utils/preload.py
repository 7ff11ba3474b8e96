# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read connection plugins once, in Ansible's main process, instead of once in every worker.

Each task of each host runs in a forked worker, which dies with what it has imported. What costs most in a worker of a task that does little is its connection
plugin: the import, and core's reading of the plugin's documentation for its options. A worker inherits both from a main process that has them already. The
inventory plugin runs there, and knows the connections of its hosts; core also imports action plugins there, before it forks the workers that run them.
"""
from __future__ import annotations

import contextlib
import multiprocessing
from typing import Collection

from ansible import constants as C
from ansible import context
from ansible.plugins.loader import connection_loader

# Those of the tiers, and what stands in for one: which of them a play needs is known only when its workers run, unless the inventory has said it.
# Core reads a plugin's documentation once more for each name that it goes by, so ssh by its full name is another one.
_OF_TIERS = ("molecule_ai.workspace.eic", "community.docker.docker_api", "ansible.builtin.ssh")
_known: set[str] = set()


def connections(names: Collection[str]) -> None:
    """Read these connection plugins, if this is the main process of a run that may fork several workers.

    What cannot be read is left alone: the worker that needs it says what is wrong with it.
    """
    if multiprocessing.parent_process() is not None or (context.CLIARGS.get("forks") or 1) < 2:
        return
    for name in sorted(set(names) - _known):
        _known.add(name)
        # the import runs whatever the plugin and its libraries do, so it ends in any exception; here it would end the inventory or the run
        with contextlib.suppress(Exception):
            connection_loader.get(name, class_only=True)


def connections_of_tiers() -> None:
    """Read those that the hosts of a hand-written inventory may need; nothing where our inventory has told the connections of its hosts."""
    if not _known:
        connections((*_OF_TIERS, C.DEFAULT_TRANSPORT))
