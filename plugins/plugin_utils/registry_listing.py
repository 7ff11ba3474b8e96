# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry, a directory of plugins on the controller, has to offer."""
from __future__ import annotations

import typing as t
from pathlib import Path

from ..module_utils.errors import InvalidInputError
from ..module_utils.names import is_plugin_name
from .manifest import read_manifest


def plugins(registry: str) -> tuple[list[dict[str, t.Any]], list[str]]:
    """The plugins by name, ``{"name", "version", "runtimes"}``, and a sentence for each directory that cannot be installed from.

    ``version`` is ``None`` if the plugin says none, ``runtimes`` empty if it is for all. Raises :class:`InvalidInputError` for what is no directory.
    """
    try:
        directories = sorted(path for path in Path(registry).expanduser().iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InvalidInputError(f"registry {registry} cannot be listed ({error.strerror}): give the directory that holds the plugins' directories") from error
    found, refused = [], []
    for path in directories:
        if path.is_symlink():
            refused.append(f"{path} is a symbolic link: links are not followed, put the directory itself there")
        elif not is_plugin_name(path.name):
            refused.append(f"{path} has a name that no plugin can have")
        else:
            try:
                manifest = read_manifest(path, str(path))
            except InvalidInputError as error:
                refused.append(str(error))
                continue
            found.append({"name": path.name, "version": manifest.version, "runtimes": list(manifest.runtimes)})
    return found, refused
