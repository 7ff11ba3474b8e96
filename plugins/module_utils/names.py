# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The strict names: everything that ends up in a path or a command line is checked here first, and refused, never repaired."""
from __future__ import annotations

import posixpath
import re

from .errors import InvalidInputError

PLUGIN_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
WORKSPACE_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,63}")
# ansible-core puts a remote temporary directory below it into shell commands unquoted, so nothing that a shell knows is in it.
CONFIG_DIR = re.compile(r"(/[a-zA-Z0-9._@+-]+)+")
SYSTEMD_UNIT = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.@-]{0,250}\.service")

# A config dir at one of these would make root write into the system itself, and give a part of it to the agent. Everything below the first ones is the
# system's; below the others people have directories of their own, such as ``/var/lib/docker/volumes/configs/_data``.
_SYSTEM_TREES = re.compile(r"/(?:bin|boot|dev|etc|lib(?:32|64|x32)?|proc|run|sbin|sys|usr|var/(?:lock|log|mail|run|spool))(?:/.*)?")
_SYSTEM_DIRECTORIES = re.compile(r"/(?:home|media|mnt|opt|root|srv|tmp|var(?:/(?:backups|cache|lib|local|opt|tmp))?)?")
# Whose files decide who may log in, wherever they lie.
_KEY_DIRECTORIES = frozenset((".ssh", ".gnupg"))


def is_integer(value: object) -> bool:
    """Tell whether ``value`` is a whole number; for Python, ``True`` and ``False`` are numbers too."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_plugin_name(name: str) -> bool:
    """Tell whether ``name`` may name a plugin directory. The platform accepts ``.`` and then deletes all plugins, so we are stricter."""
    return PLUGIN_NAME.fullmatch(name) is not None and ".." not in name


def validate_plugin_name(name: object) -> str:
    """Return ``name`` if it may name a plugin directory; raise :class:`InvalidInputError` otherwise."""
    if not isinstance(name, str) or not is_plugin_name(name):
        raise InvalidInputError(
            f"plugin name {name!r} is not allowed: use 1 to 128 characters of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or digit and without '..'"
        )
    return name


def validate_instance_id(instance_id: object) -> str:
    """Return ``instance_id`` if it is an EC2 instance id; raise :class:`InvalidInputError` otherwise."""
    if not isinstance(instance_id, str) or not INSTANCE_ID.fullmatch(instance_id):
        raise InvalidInputError(f"{instance_id!r} is not an EC2 instance id: it must be 'i-' and 8 to 17 hexadecimal digits")
    return instance_id


def validate_container_name(name: object) -> str:
    """Return ``name`` if Docker accepts it as a container name; raise :class:`InvalidInputError` otherwise."""
    if not isinstance(name, str) or not CONTAINER_NAME.fullmatch(name):
        raise InvalidInputError(f"{name!r} is not a container name: use letters, digits, '_', '.' and '-', starting with a letter or digit")
    return name


def validate_workspace_id(workspace_id: object) -> str:
    """Return ``workspace_id`` if it can be one (the platform uses UUIDs); raise :class:`InvalidInputError` otherwise."""
    if not isinstance(workspace_id, str) or not WORKSPACE_ID.fullmatch(workspace_id):
        raise InvalidInputError(f"{workspace_id!r} is not a workspace id: use the UUID that the platform shows for the workspace")
    return workspace_id


def validate_systemd_unit(unit: object) -> str:
    """Return ``unit`` if it names a systemd service; raise :class:`InvalidInputError` otherwise."""
    if not isinstance(unit, str) or not SYSTEMD_UNIT.fullmatch(unit):
        raise InvalidInputError(f"{unit!r} is not a systemd service: give its full name, for example 'hermes.service'")
    return unit


def validate_config_dir(path: object) -> str:
    """Return ``path`` if it may be a workspace's config dir; raise :class:`InvalidInputError` otherwise."""
    if not isinstance(path, str) or not CONFIG_DIR.fullmatch(path) or posixpath.normpath(path) != path or _is_system_directory(path):
        raise InvalidInputError(
            f"config dir {path!r} is not allowed: give an absolute, normalised path of letters, digits, '.', '_', '@', '+' and '-' "
            "that is not a system directory, for example '/configs'"
        )
    return path


def _is_system_directory(path: str) -> bool:
    is_known = _SYSTEM_TREES.fullmatch(path) is not None or _SYSTEM_DIRECTORIES.fullmatch(path) is not None
    return is_known or not _KEY_DIRECTORIES.isdisjoint(path.split("/"))
