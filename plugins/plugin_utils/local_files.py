# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a relative path of a task is looked for on the controller when Ansible itself has not found it.

Ansible looks in the role's and the playbook's directory, and in ``files`` there. Of a playbook that is run by its name (``namespace.collection.playbook``),
that is the directory where the collection is installed, in which no user keeps plugins.
"""
from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Sequence

from ..module_utils.errors import InvalidInputError
from ..module_utils.printable import printable


def find_elsewhere(path: str, what: str, searched: Sequence[str], inventory_dir: str | None) -> str:
    """Return the absolute path of what lies beside the inventory or in the current directory; raise :class:`InvalidInputError` with all places.

    ``what`` names the option, ``searched`` are the candidates that Ansible has tried already. As with ``ansible.cfg``, the current directory does not count
    when everybody may write to it: another user could have put the plugin there.
    """
    tried = list(dict.fromkeys(searched))
    if not os.path.isabs(path) and not path.startswith("~"):
        current = _current_directory()
        for directory in ([Path(inventory_dir)] if inventory_dir else []) + ([current] if current else []):
            candidate = (directory / path).absolute()
            if candidate.exists():
                return str(candidate)
            tried.append(os.path.normpath(candidate))
    places = ", ".join(printable(place) for place in dict.fromkeys(tried)) or printable(path)
    raise InvalidInputError(
        f"{what} {path!r} does not exist on the controller: put it in one of the places that were looked at, or give an absolute path (looked at {places})"
    )


def _current_directory() -> Path | None:
    """Return the directory in which the run was started, if it is still there and not everybody's."""
    try:
        directory = Path.cwd()
        everybodys = directory.stat().st_mode & stat.S_IWOTH
    except OSError:
        return None
    return None if everybodys else directory
