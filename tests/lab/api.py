# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab for tests: look at workspaces without the product's help, disturb them, count what happened, switch faults."""
from __future__ import annotations

import hashlib
import io
import json
import os
import posixpath
import tarfile
import time
import types
import urllib.request
from typing import Any, NamedTuple

import docker
import docker.errors
import docker.models.containers

from . import engine as engines
from . import machines
from .inventory import environment
from .world import World


class Item(NamedTuple):
    """One thing in a config directory. ``digest``: SHA-256 of a file's bytes, the target of a link, "" otherwise."""

    type: str  # "file", "directory", "link" or "other"
    mode: int
    uid: int
    gid: int
    digest: str


class Outcome(NamedTuple):
    """How a command inside a machine ended."""

    status: int
    stdout: bytes
    stderr: bytes


class Lab:
    """A running lab. Workspaces are given by name or id. FileNotFoundError when the lab in ``state`` is not up.

    ``inventory`` is the path of its inventory, ``world`` its recorded world (``world.reload()`` after a platform restart),
    ``service`` the addresses of its simulated services.
    """

    def __init__(self, state: os.PathLike[str] | str | None = None) -> None:
        self.world = World.load(state)
        self.paths = self.world.paths
        self.service: dict[str, Any] = json.loads(self.paths.service.read_text(encoding="utf-8")) if self.paths.service.exists() else {}
        self.inventory = self.paths.inventory
        self.engine = engines.client(self.world.data["docker_host"])

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection to the engine."""
        self.engine.close()

    # -- machines ------------------------------------------------------------------------------------------------------------

    def runtime_container_name(self, name: str) -> str | None:
        """The container in which the workspace's runtime runs (the EC2 host itself where it has none of its own); None: not in the lab."""
        workspace = self.world.reload().workspace(name)
        instance = self.world.instance_of(workspace)
        container: str | None = instance["runtime_container"] or instance["host_container"] if instance else workspace["container"]
        return container

    def runtime(self, name: str) -> docker.models.containers.Container:
        """The container in which the workspace's runtime runs."""
        container = self.runtime_container_name(name)
        if container is None:
            raise LookupError(f"workspace {name} has no container in the lab")
        return self.engine.containers.get(container)

    def host(self, name: str) -> docker.models.containers.Container:
        """The machine that the product reaches: the EC2 host, or the workspace's own container."""
        instance = self.world.reload().instance_of(self.world.workspace(name))
        return self.engine.containers.get(instance["host_container"]) if instance else self.runtime(name)

    def config_dir(self, name: str) -> str:
        """The config directory as the product sees it on :meth:`host`."""
        instance = self.world.reload().instance_of(self.world.workspace(name))
        return instance["config_dir"] if instance else "/configs"

    def state(self, name: str) -> str:
        """The runtime container's state as Docker calls it (``running``, ``exited``, ``created``, ...); ``missing`` when it is gone."""
        try:
            return str(self.runtime(name).status)
        except docker.errors.NotFound:
            return "missing"

    def exec(self, name: str, *command: str, user: str = "root", where: str = "host") -> Outcome:
        """Run a command in the workspace's machine (``where="runtime"``: in the runtime's container); no shell."""
        container = self.runtime(name) if where == "runtime" else self.host(name)
        status, (stdout, stderr) = container.exec_run(list(command), user=user, demux=True)
        return Outcome(status, stdout or b"", stderr or b"")

    # -- what the runtime did ------------------------------------------------------------------------------------------------

    def starts(self, name: str) -> list[dict[str, Any]]:
        """Every start of the workspace's runtime since the lab made it: when, what it loaded; also while it is stopped."""
        try:
            content = machines.read_file(self.runtime(name), machines.STARTS_DIRECTORY + "/starts.jsonl")
        except docker.errors.NotFound:
            return []
        return [json.loads(line) for line in (content or b"").splitlines()]

    def loaded(self, name: str) -> dict[str, Any] | None:
        """What the running runtime loaded: ``{"started", "plugins": [{"name", "sha256", ...}]}``; None while it does not run or is about to load."""
        if self.state(name) != "running":
            return None
        outcome = self.exec(name, "cat", "/run/molecule/loaded.json", where="runtime")
        # An empty file is one that the runtime has just begun.
        loaded: dict[str, Any] | None = json.loads(outcome.stdout) if outcome.status == 0 and outcome.stdout.strip() else None
        return loaded

    def loaded_names(self, name: str) -> list[str]:
        """The names of the plugins that the running runtime loaded."""
        return [plugin["name"] for plugin in (self.loaded(name) or {"plugins": []})["plugins"]]

    # -- files ---------------------------------------------------------------------------------------------------------------

    def snapshot(self, name: str, under: str = "") -> dict[str, Item]:
        """Everything in the config directory (or below ``under`` in it) by relative path; "" is the directory itself, nothing there is {}.

        Read by the engine from outside, so it works on stopped workspaces and does not depend on anything inside.
        """
        try:
            chunks, _stat = self.host(name).get_archive(posixpath.join(self.config_dir(name), under))
        except docker.errors.NotFound:
            return {}
        items: dict[str, Item] = {}
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            for member in archive:
                path = member.name.rstrip("/").partition("/")[2]
                if member.isreg() or member.islnk():
                    stream = archive.extractfile(member)
                    kind, digest = "file", hashlib.sha256(stream.read() if stream else b"").hexdigest()
                elif member.isdir():
                    kind, digest = "directory", ""
                else:
                    kind, digest = ("link", member.linkname) if member.issym() else ("other", "")
                items[path] = Item(kind, member.mode & 0o7777, member.uid, member.gid, digest)
        return items

    def read_file(self, name: str, path: str) -> bytes | None:
        """The bytes of a file in the config directory; None when it is not there."""
        return machines.read_file(self.host(name), posixpath.join(self.config_dir(name), path))

    def write_file(self, name: str, path: str, content: bytes | str, *, mode: int = 0o644, owner: int = machines.AGENT) -> None:
        """Write a file into the config directory, with the parents that are missing (``owner``'s, 0755)."""
        host, root = self.host(name), self.config_dir(name)
        entries: dict[str, tuple[bytes, int, int]] = {}
        parts = path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            try:
                host.get_archive(posixpath.join(root, parent))[0].close()
            except docker.errors.NotFound:
                entries[parent + "/"] = (b"", 0o755, owner)
        entries[path] = (content.encode() if isinstance(content, str) else content, mode, owner)
        machines.put_files(host, root, entries)

    def remove(self, name: str, path: str) -> None:
        """Remove a file or tree below the config directory of a running workspace."""
        self.exec(name, "rm", "-rf", "--", posixpath.join(self.config_dir(name), path))

    def reset(self, name: str) -> None:
        """Back to a fresh workspace: empty config directory but for config.yaml, runtime started once more (unless it is to be stopped)."""
        workspace = self.world.reload().workspace(name)
        instance = self.world.instance_of(workspace)
        runtime = self.runtime(name)
        if instance:
            host = self.host(name)
            if host.status != "running":
                host.start()
            self.exec(name, "find", self.config_dir(name), "-mindepth", "1", "-delete")
            machines.provision(host, instance["config_dir"], workspace)
            runtime.restart(timeout=5)
        else:
            runtime.remove(force=True)
            self.engine.volumes.get(workspace["config_volume"]).remove(force=True)
            machines.create_workspace(self.engine, self.world, workspace)
        if not workspace["stopped"]:
            self.wait_started(name)

    def wait_started(self, name: str, *, more_than: int = 0, timeout: float = 20.0) -> None:
        """Wait until the runtime has loaded its plugins and started ``more_than`` that many times; TimeoutError when it has not in time."""
        deadline = time.monotonic() + timeout
        while self.loaded(name) is None or len(self.starts(name)) <= more_than:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the runtime of {name} did not start within {timeout:.0f} s")
            time.sleep(0.05)

    # -- simulated services --------------------------------------------------------------------------------------------------

    def counters(self) -> dict[str, Any]:
        """What the simulated services counted: tunnels, key pushes, describe calls, ..."""
        counters: dict[str, Any] = self._control("GET", "counters")
        return counters

    def reset_counters(self) -> dict[str, Any]:
        """Totals back to 0, peaks to what is open now; the counters after that."""
        counters: dict[str, Any] = self._control("POST", "counters/reset")
        return counters

    def fault(self, name: str, **parameters: Any) -> Any:
        """Switch a fault on (see the list in ``lab.faults``)."""
        return self._control("POST", "faults", {"name": name, **parameters})

    def faults(self) -> list[dict[str, Any]]:
        """The faults that are on; ``struck`` says how often each has struck."""
        faults: list[dict[str, Any]] = self._control("GET", "faults")["faults"]
        return faults

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self._control("DELETE", "faults")

    def settings(self, **values: Any) -> Any:
        """Change adjustable values of the simulated services (see ``lab.settings``)."""
        return self._control("PUT", "settings", values)

    def reset_settings(self) -> None:
        """All adjustable values back to their defaults."""
        self._control("DELETE", "settings")

    def environment(self) -> dict[str, str]:
        """The environment for Ansible on the lab: this process's own with the lab's values."""
        return {**os.environ, **environment(self)}

    def _control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{self.service['control_url']}/{path}", method=method, data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as response:
            content = response.read()
        return json.loads(content) if content else None
