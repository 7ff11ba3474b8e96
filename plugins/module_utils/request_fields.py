# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The fields of a request to the workspace half, checked before anything is touched; :mod:`plugin_request` says what they mean."""
from __future__ import annotations

import json
from typing import Any, BinaryIO, Mapping, Sequence

from .errors import InvalidInputError
from .names import is_integer, validate_config_dir, validate_plugin_name
from .plugin_tree import DEFAULT_LIMITS, DIGEST, Limits, Owner

VERSION = 1

_STATES = ("present", "absent", "rolled_back")
_COMMON_FIELDS = frozenset(("version", "operation", "config_dir", "runtime_config_dir", "owner", "lock_timeout", "job", "max_plugin_bytes"))
_LIVE_FACTOR = 10
_MAX_PLUGINS = 1000
_MAX_JOB_BYTES = 4096
# Characters of a source or a version.
MAX_TEXT = 4096
_MAX_ID = 2**32 - 2


class Request:
    """A request whose common fields are valid.

    ``fields`` has the fields of each operation beside the common ones; ``attached`` is what came with the request.
    """

    def __init__(self, request: Mapping[str, Any], fields: Mapping[str, frozenset[str]], attached: BinaryIO | None) -> None:
        self.attached = attached
        if not isinstance(request, dict):
            raise InvalidInputError("the request to the workspace is not a dictionary")
        self._request = request
        if not is_integer(request.get("version")) or request["version"] != VERSION:
            raise InvalidInputError(f"request version {request.get('version')!r} is unknown: controller and workspace must use one version of the collection")
        operation = request.get("operation")
        if not isinstance(operation, str) or operation not in fields:
            raise InvalidInputError(f"operation {operation!r} is unknown: use one of {', '.join(sorted(fields))}")
        self.operation = operation
        unknown = sorted(str(field) for field in set(request) - _COMMON_FIELDS - fields[self.operation])
        if unknown:
            raise InvalidInputError(f"operation {self.operation} has no field {', '.join(unknown)}")
        self.config_dir = validate_config_dir(request.get("config_dir"))
        self.runtime_config_dir = validate_config_dir(request.get("runtime_config_dir") or self.config_dir)
        self.owner = self._owner()
        self.lock_timeout = self.integer("lock_timeout", 60, 0, 86400)
        self.limits = Limits(max_bytes=self.integer("max_plugin_bytes", DEFAULT_LIMITS.max_bytes, 1, 2**50))
        self.job = self._job()

    @property
    def live_limits(self) -> Limits:
        """A live tree may hold what the runtime or a set-up script added: it must be seen to be repaired."""
        return self.limits._replace(max_bytes=self.limits.max_bytes * _LIVE_FACTOR, max_entries=self.limits.max_entries * _LIVE_FACTOR)

    @property
    def claude_directories(self) -> list[str]:
        """What ``${CLAUDE_DIR}`` may have been replaced by."""
        return list(dict.fromkeys([self.runtime_config_dir + "/.claude", self.config_dir + "/.claude"]))

    def get(self, field: str) -> object:
        """The field's value as it came, None when there is none."""
        return self._request.get(field)

    def integer(self, field: str, default: int, minimum: int, maximum: int) -> int:
        """A whole number within bounds."""
        value: int = self._request.get(field, default)
        if not is_integer(value) or not minimum <= value <= maximum:
            raise InvalidInputError(f"{field} {value!r} is not allowed: use a whole number from {minimum} to {maximum}")
        return value

    def elements(self, field: str, allowed: Sequence[str], maximum: int) -> list[Mapping[str, Any]]:
        """A list of dictionaries with no other keys than ``allowed``."""
        value = self._request.get(field)
        if not isinstance(value, list) or len(value) > maximum:
            raise InvalidInputError(f"{field} must be a list of at most {maximum} elements")
        for element in value:
            if not isinstance(element, dict) or not set(element) <= set(allowed):
                raise InvalidInputError(f"an element of {field} must be a dictionary with the keys {', '.join(allowed)}")
        return value

    def texts(self, field: str, maximum: int) -> list[str]:
        """A list of texts, empty where there is none."""
        value = self._request.get(field) or []
        if not isinstance(value, list) or len(value) > maximum or not all(isinstance(text, str) for text in value):
            raise InvalidInputError(f"{field} must be a list of at most {maximum} texts")
        return value

    def plugins(self, allowed: Sequence[str]) -> list[Mapping[str, Any]]:
        """The list ``plugins``, with valid, unique names and with digests where there must be some."""
        elements = self.elements("plugins", allowed, _MAX_PLUGINS)
        names = [validate_plugin_name(element.get("name")) for element in elements]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInputError(f"plugin '{name}' is listed twice: say once what it shall be")
        for element in elements:
            if element.get("state") not in _STATES:
                raise InvalidInputError(f"state {element.get('state')!r} of plugin '{element['name']}' is unknown: use {' or '.join(_STATES)}")
            if element["state"] == "present" or (element["state"] == "rolled_back" and element.get("digest") is not None):
                check_digest(element.get("digest"), f"digest of plugin '{element['name']}'")
            elif element["state"] == "absent" and element.get("digest") is not None:
                raise InvalidInputError(f"plugin '{element['name']}' shall be absent, so it can have no digest")
        return elements

    def _owner(self) -> Owner:
        value = self._request.get("owner", [1000, 1000])
        if not isinstance(value, (list, tuple)) or len(value) != 2 or any(not is_integer(part) or not 0 <= part <= _MAX_ID for part in value):
            raise InvalidInputError(f"owner {value!r} is not allowed: use a list of a user id and a group id")
        return value[0], value[1]

    def _job(self) -> dict[str, Any]:
        value = self._request.get("job")
        if value is None:
            return {}
        simple = isinstance(value, dict) and all(isinstance(part, (str, int, type(None))) for item in value.items() for part in item)
        if not simple or len(json.dumps(value)) > _MAX_JOB_BYTES:
            raise InvalidInputError(f"job must be a dictionary of short texts and numbers, at most {_MAX_JOB_BYTES} bytes")
        return dict(value)


def check_digest(value: object, what: str) -> None:
    """Refuse what is no digest; ``what`` names the field."""
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise InvalidInputError(f"{what} {value!r} is not a digest: it must be 'sha256:' and 64 hexadecimal digits")


def check_path(path: object) -> None:
    """Refuse what is no relative path inside a plugin."""
    if not isinstance(path, str) or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise InvalidInputError(f"path {path!r} is not allowed: use a relative path inside the plugin, without '..'")


def optional_text(element: Mapping[str, Any], field: str) -> str | None:
    """Return a short text or None; refuse anything else."""
    value = element.get(field)
    if value is not None and (not isinstance(value, str) or len(value) > MAX_TEXT):
        raise InvalidInputError(f"{field} of plugin '{element['name']}' must be a text of at most {MAX_TEXT} characters")
    return value
