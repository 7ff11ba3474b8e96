# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sources of the inventory failed, so that workspaces may be missing from an audit.

ansible-core only warns of an inventory that it cannot read, and keeps which ones it could read where no variable tells (``processed_sources``).
The inventory plugin ``workspaces`` leaves the sources that did not answer in a variable of the group ``all``, also when it has no host to give.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.inventory.manager import IGNORED
from ansible.utils.path import unfrackpath

from ..module_utils.errors import WorkspaceError
from .audit_record import FAILURES_VARIABLE, Failure, new_failure, noted_failures
from .task_data import plain

# ansible-core does not warn of this one, its default, when it is not there.
_DEFAULT = "/etc/ansible/hosts"


def failures_of(variable_manager: Any) -> list[Failure]:
    """Return what failed in the inventory behind a variable manager: file name, source, type of source (empty: not known) and one sentence."""
    try:
        inventory = variable_manager._inventory
        noted = plain(inventory.groups["all"].get_vars().get(FAILURES_VARIABLE))
        sources = [str(source) for source in inventory._sources if source]
        processed = {str(source) for source in inventory._inventory.processed_sources}
    except (AttributeError, KeyError, WorkspaceError) as error:
        # Another ansible-core than the supported ones, or a variable that nobody understands: not knowing is not "complete".
        return [new_failure(reason=f"the inventory cannot be asked whether it is complete ({error})")]
    told = {str(entry.get("inventory")) for entry in noted if isinstance(entry, Mapping)} if isinstance(noted, list) else set()
    unread = [path for source in sources for path in _files(source) if path not in processed and path not in told]
    return [*noted_failures(noted), *(new_failure(path, reason="Ansible could not read it as an inventory, and warned of it") for path in unread)]


def _files(source: str) -> Iterator[str]:
    """What ansible-core makes of one source: a list of hosts, a file, or the files below a directory."""
    path = source if "," in source else str(unfrackpath(source, follow=False))
    if "," not in source and os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            if not IGNORED.search(os.fsencode(name)):
                yield from _files(os.path.join(path, name))
    elif path != _DEFAULT or os.path.exists(path):
        yield path
