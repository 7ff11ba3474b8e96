# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps what: one state directory per checkout, short paths for sockets, and a cache that checkouts share."""
from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# LAB_STATE lets several labs of one checkout run side by side.
DEFAULT_STATE = pathlib.Path(os.environ.get("LAB_STATE") or REPOSITORY / ".lab").resolve()


def image_cache() -> pathlib.Path:
    """The directory of cached root file systems, shared by every checkout of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "molecule_ai_workspace_lab"


@dataclasses.dataclass(frozen=True)
class Paths:
    """Every file of one lab; ``state`` is its state directory."""

    state: pathlib.Path

    @classmethod
    def of(cls, state: os.PathLike[str] | str | None = None) -> Paths:
        """The paths of the lab in ``state``, by default ``.lab`` in this checkout."""
        return cls(pathlib.Path(state).resolve() if state else DEFAULT_STATE)

    @property
    def sockets(self) -> pathlib.Path:
        """Root-owned directory for sockets: a socket's path must stay below 108 bytes, wherever the checkout lies."""
        return pathlib.Path("/tmp") / f"mol-lab-{hashlib.sha256(str(self.state).encode()).hexdigest()[:10]}"

    @property
    def engine_socket(self) -> pathlib.Path:
        return self.sockets / "docker.sock"

    @property
    def engine_sockets(self) -> pathlib.Path:
        """Holds one directory per EC2 instance with the socket that the instance sees as its own Docker engine."""
        return self.sockets / "engines"

    @property
    def engine_exec_root(self) -> pathlib.Path:
        return self.sockets / "exec"

    @property
    def engine_data(self) -> pathlib.Path:
        return self.state / "engine"

    @property
    def engine_log(self) -> pathlib.Path:
        return self.state / "engine.log"

    @property
    def engine_pid(self) -> pathlib.Path:
        return self.state / "engine.pid"

    @property
    def engine_config(self) -> pathlib.Path:
        return self.state / "engine.json"

    @property
    def world(self) -> pathlib.Path:
        return self.state / "world.json"

    @property
    def world_lock(self) -> pathlib.Path:
        return self.state / "world.lock"

    @property
    def command_lock(self) -> pathlib.Path:
        """Held by ``up`` and ``down``, one at a time."""
        return self.state / "command.lock"

    @property
    def service(self) -> pathlib.Path:
        return self.state / "service.json"

    @property
    def service_log(self) -> pathlib.Path:
        return self.state / "service.log"

    @property
    def service_pid(self) -> pathlib.Path:
        return self.state / "service.pid"

    @property
    def key_store(self) -> pathlib.Path:
        """The public keys that were pushed to instances: ``<instance id>/<OS user>``."""
        return self.state / "keys"

    @property
    def known_hosts(self) -> pathlib.Path:
        """The host keys that connections learn: a lab's instance ids come again with new keys, unlike those of AWS."""
        return self.state / "known_hosts"

    @property
    def inventory(self) -> pathlib.Path:
        return self.state / "inventory.yml"

    @property
    def environment(self) -> pathlib.Path:
        return self.state / "environment"
