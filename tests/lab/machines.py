# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's machines: containers of workspaces, and EC2 instances, each a container with a real sshd and one with the runtime.

Every function takes ``engine`` (a ``docker.DockerClient`` on the lab's engine, see :func:`lab.engine.client`) and ``world``. Everything
created carries the label of its lab, so that :func:`remove_all` takes away exactly that, also on an engine that is not the lab's own.

An instance has no init system and no listening sshd: ``docker exec -i <host container> /usr/sbin/sshd -i`` is one connection to its
port 22. Its Docker engine is the socket ``<engine_sockets>/<instance id>/docker.sock`` that the simulated services serve.
"""
from __future__ import annotations

import contextlib
import io
import pathlib
import re
import secrets
import tarfile
import time
from typing import Any

import docker
import docker.errors
import docker.models.containers
import docker.types
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from .world import World, new_instance

LABEL = "molecule.lab"
AGENT = 1000
STARTS_DIRECTORY = "/var/lib/molecule-runtime"
RUNTIME_COMMAND = ["/usr/local/lib/molecule-lab/molecule-runtime"]
HOST_COMMAND = ["/usr/local/lib/molecule-lab/molecule-host"]
SSHD_COMMAND = ["/usr/sbin/sshd", "-i", "-e", "-f", "/etc/ssh/sshd_config"]
_SECOND = 1_000_000_000  # the engine counts nanoseconds


def create_workspace(engine: docker.DockerClient, world: World, workspace: dict[str, Any], *, start: bool = True) -> None:
    """Create the container (and, if new, the volumes) of a workspace of kind ``docker``; start it unless the world wants it stopped."""
    container = _create_runtime(
        engine, world, name=workspace["container"], workspace=workspace, config_volume=workspace["config_volume"], starts_volume=workspace["starts_volume"],
        read_only=workspace["read_only"], health_check=workspace["health_check"], agents_directory=True,
    )
    provision(container, "/configs", workspace)
    if start and not workspace["stopped"]:
        container.start()


def create_instance(engine: docker.DockerClient, world: World, instance: dict[str, Any], workspace: dict[str, Any]) -> None:
    """Create and start an EC2 instance for ``workspace``: new host keys (public halves go to ``instance["host_keys"]``), host, runtime."""
    instance_id = instance["instance_id"]
    keys, sockets = prepare_directories(world, instance_id)
    for volume in (instance["config_volume"], instance["starts_volume"]):
        engine.volumes.create(volume, labels=_labels(world))
    hostname = "ip-" + instance["private_ip"].replace(".", "-")
    host = engine.containers.create(
        world.data["image"],
        command=HOST_COMMAND,
        name=instance["host_container"],
        hostname=hostname,
        extra_hosts={hostname: "127.0.1.1"},
        network_mode="none",
        tmpfs={"/run/molecule": "size=1m,mode=755"},  # what a runtime on the bare host loaded is forgotten when the host starts anew
        environment={"LAB_UNIT": instance["unit"], "LAB_CONFIG_DIR": instance["config_dir"]} if instance["unit"] else {},
        mounts=[
            docker.types.Mount(instance["config_dir"], instance["config_volume"], type="volume"),
            *([docker.types.Mount(STARTS_DIRECTORY, instance["starts_volume"], type="volume")] if instance["unit"] else []),
            docker.types.Mount("/run/eic-keys", str(keys), type="bind", read_only=True),
            docker.types.Mount("/run/docker-engine", str(sockets), type="bind"),
        ],
        labels=_labels(world),
    )
    public_keys, files = _host_keys(instance_id)
    instance["host_keys"] = public_keys
    put_files(host, "/etc/ssh", files)
    _rename_agent(host, instance["os_user"])
    provision(host, instance["config_dir"], workspace)
    host.start()
    if instance["runtime_container"]:
        _create_runtime(
            engine, world, name=instance["runtime_container"], workspace=workspace, config_volume=instance["config_volume"],
            starts_volume=instance["starts_volume"], read_only=False, health_check=False, agents_directory=False,
        ).start()


def prepare_directories(world: World, instance_id: str) -> tuple[pathlib.Path, pathlib.Path]:
    """Make what an instance mounts from outside the engine: its directory of pushed keys and the one of its engine socket."""
    directories = pathlib.Path(world.data["key_store"]) / instance_id, pathlib.Path(world.data["engine_sockets"]) / instance_id
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
    return directories


def recreate_workspace(engine: docker.DockerClient, world: World, name: str) -> dict[str, Any]:
    """What the self-hosted platform's restart does: a new container from the image with the same volumes. Returns the workspace."""
    workspace = world.workspace(name)
    remove_container(engine, workspace["container"])
    create_workspace(engine, world, workspace)
    return workspace


def replace_instance(engine: docker.DockerClient, world: World, instance_id: str) -> dict[str, Any]:
    """What the SaaS platform's restart does: terminate the instance, provision a new one with an empty disk and new host keys.

    The world is updated (old record ``terminated``, new record, the workspace's ``instance_id``); returns the new record.
    """
    with world.transaction() as data:
        old = world.instance(instance_id)
        old["state"] = "shutting-down"
        workspace = world.workspace(old["tags"]["WorkspaceID"])
        new = new_instance("i-" + secrets.token_hex(9)[:17], f"10.20.0.{20 + len(data['instances'])}", workspace)
        new["state"] = "pending"
        data["instances"].append(new)
    remove_instance(engine, old)
    create_instance(engine, world, new, workspace)
    with world.transaction() as data:
        world.instance(instance_id)["state"] = "terminated"
        for index, instance in enumerate(data["instances"]):
            if instance["instance_id"] == new["instance_id"]:
                data["instances"][index] = dict(new, state="running")
        world.workspace(workspace["id"])["instance_id"] = new["instance_id"]
    return world.instance(new["instance_id"])


def remove_container(engine: docker.DockerClient, name: str | None) -> None:
    """Remove a container, running or not; none of that name is fine. Volumes stay."""
    if name:
        with contextlib.suppress(docker.errors.NotFound):
            engine.containers.get(name).remove(force=True)


def remove_instance(engine: docker.DockerClient, instance: dict[str, Any]) -> None:
    """Remove an instance's containers and its disks."""
    remove_container(engine, instance["runtime_container"])
    remove_container(engine, instance["host_container"])
    for volume in (instance["config_volume"], instance["starts_volume"]):
        with contextlib.suppress(docker.errors.NotFound):
            engine.volumes.get(volume).remove(force=True)


def expected(world: World) -> dict[str, bool]:
    """The containers that the world should have: name -> whether it should be running."""
    names: dict[str, bool] = {}
    for workspace in world.data["workspaces"]:
        if workspace["kind"] == "docker":
            names[workspace["container"]] = not workspace["stopped"]
    for instance in world.data["instances"]:
        if instance["host_container"] and instance["state"] not in ("shutting-down", "terminated"):
            names[instance["host_container"]] = True
            if instance["runtime_container"]:
                names[instance["runtime_container"]] = True
    return names


def remove_all(engine: docker.DockerClient, world: World) -> None:
    """Remove every container and volume of this lab from the engine."""
    label = {"label": f"{LABEL}={world.paths.sockets.name}"}
    for container in engine.containers.list(all=True, filters=label):
        container.remove(force=True)
    for volume in engine.volumes.list(filters=label):
        volume.remove(force=True)


def existing(engine: docker.DockerClient, world: World) -> dict[str, str]:
    """The containers of this lab: name -> status (``running``, ``exited``, ``created``, ...)."""
    label = {"label": f"{LABEL}={world.paths.sockets.name}"}
    return {container.name: container.status for container in engine.containers.list(all=True, filters=label)}


def read_file(container: docker.models.containers.Container, path: str) -> bytes | None:
    """The bytes of one file in a container, running or not (but not below a tmpfs); None when it does not exist."""
    try:
        chunks, _stat = container.get_archive(path)
    except docker.errors.NotFound:
        return None
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        stream = archive.extractfile(archive.getmembers()[0])
        return stream.read() if stream else None


def _labels(world: World, *, platform: bool = False) -> dict[str, str]:
    labels = {LABEL: world.paths.sockets.name}
    return dict(labels, **{"molecule.platform.managed": "true"}) if platform else labels


def _create_runtime(
    engine: docker.DockerClient, world: World, *, name: str, workspace: dict[str, Any], config_volume: str, starts_volume: str,
    read_only: bool, health_check: bool, agents_directory: bool,
) -> docker.models.containers.Container:
    """Create a container that runs the lab's runtime on ``config_volume``."""
    for volume in (config_volume, starts_volume):
        engine.volumes.create(volume, labels=_labels(world))
    tmpfs = {"/run": "size=16m,mode=755"}
    if read_only:
        tmpfs["/tmp"] = "size=64m,noexec,mode=1777"
    return engine.containers.create(
        world.data["image"],
        command=RUNTIME_COMMAND,
        name=name,
        hostname=name[:60],
        network_mode="none",
        read_only=read_only,
        tmpfs=tmpfs,
        environment={
            "WORKSPACE_ID": workspace["id"], "RUNTIME": workspace["runtime"], "LAB_HEALTHY_AFTER": "3" if health_check else "0",
            "LAB_OWN_CONFIG_DIR": "1" if agents_directory else "",
        },
        mounts=[
            docker.types.Mount("/configs", config_volume, type="volume"),
            docker.types.Mount(STARTS_DIRECTORY, starts_volume, type="volume"),
        ],
        healthcheck={
            "test": ["CMD", "test", "-e", "/run/molecule/healthy"], "interval": 2 * _SECOND, "timeout": 5 * _SECOND, "retries": 3,
        } if health_check else None,
        labels=_labels(world, platform=True),
    )


def provision(container: docker.models.containers.Container, config_dir: str, workspace: dict[str, Any]) -> None:
    """Provision a new config directory as the platform does: config.yaml, the agent's, in a directory of root's."""
    if read_file(container, f"{config_dir}/config.yaml") is None:
        text = f"name: {workspace['name']}\nruntime: {workspace['runtime']}\n"
        put_files(container, config_dir, {"config.yaml": (text.encode(), 0o644, AGENT)})


def _rename_agent(host: docker.models.containers.Container, os_user: str) -> None:
    """Make the image's user 1000 the host's OS user, as on Ubuntu's cloud images (in the runtime's container, 1000 is the agent)."""
    accounts: dict[str, tuple[bytes, int, int]] = {}
    for file, mode in (("passwd", 0o644), ("group", 0o644), ("shadow", 0o640)):
        content = read_file(host, f"/etc/{file}") or b""
        accounts[file] = (re.sub(rb"\bagent\b", os_user.encode(), content), mode, 0)
    put_files(host, "/etc", accounts)


def _host_keys(comment: str) -> tuple[list[str], dict[str, tuple[bytes, int, int]]]:
    """New SSH host keys: the public lines, and the files for /etc/ssh."""
    public_lines: list[str] = []
    files: dict[str, tuple[bytes, int, int]] = {}
    for kind, key in (("ed25519", ed25519.Ed25519PrivateKey.generate()), ("ecdsa", ec.generate_private_key(ec.SECP256R1()))):
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode() + f" root@{comment}"
        public_lines.append(line)
        files[f"ssh_host_{kind}_key"] = (private, 0o600, 0)
        files[f"ssh_host_{kind}_key.pub"] = (line.encode() + b"\n", 0o644, 0)
    return public_lines, files


def put_files(container: docker.models.containers.Container, directory: str, files: dict[str, tuple[bytes, int, int]]) -> None:
    """Write files (name -> content, mode, owner) into a directory of a container, running or not; a name with a final "/" is a directory."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (content, mode, owner) in files.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size, member.mode, member.uid, member.gid, member.mtime = len(content), mode, owner, owner, int(time.time())
            archive.addfile(member, io.BytesIO(content))
    container.put_archive(directory, buffer.getvalue())
