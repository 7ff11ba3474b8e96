# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet of workspaces on plain SSH: one loopback address each, /configs of its own, everything else shared (``door.py``)."""
from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import door
import peers
import yaml
from measure import NotDone

_SSHD_CONFIG = """\
HostKey /srv/hosts/.sshd/host_key
AuthenticationMethods publickey
AuthorizedKeysFile /srv/hosts/.sshd/authorized_keys
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxSessions 10
LogLevel QUIET
Subsystem sftp internal-sftp
"""
AGENT = 1000
FORKS = 10


class Hosts:
    """``size`` running hosts ``w-0000`` and so on; everything of this fleet lies below ``directory``.

    ``configs(number)`` is a host's /configs as seen from here, ``ssh_config`` an OpenSSH configuration that knows all hosts and keeps masters.
    """

    def __init__(self, directory: pathlib.Path, size: int, port: int) -> None:
        self.directory, self.size, self.port = directory, size, port
        self.names = [f"w-{number:04d}" for number in range(size)]
        self.ssh_config = directory / "ssh_config"
        self.inventory = directory / "inventory.yml"

    def configs(self, number: int) -> pathlib.Path:
        """The config dir of a host."""
        return self.directory / "hosts" / str(number)

    def write(self, plugins: Sequence[dict[str, Any]], **variables: Any) -> None:
        """Write the inventory: these plugins on every host, and more variables for all."""
        everywhere = {
            "ansible_connection": "ansible.builtin.ssh", "ansible_user": "root", "ansible_port": self.port, "ansible_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3", "ansible_ssh_private_key_file": str(self.directory / "key"),
            "ansible_control_path_dir": str(self.directory / "cp"), "ansible_ssh_common_args": self._ssh_options(),
            "ansible_ssh_args": "-C -o ControlMaster=auto -o ControlPersist=1800",
            "workspace_runtime": "claude-code", "workspace_config_dir": "/configs", "workspace_plugins": list(plugins), **variables,
        }
        hosts = {name: {"ansible_host": door.address(number), **_workspace(number)} for number, name in enumerate(self.names)}
        self.inventory.write_text(yaml.safe_dump({"workspaces": {"vars": everywhere, "hosts": hosts}}, sort_keys=False))
        lines = [f"Host {name}\n  HostName {door.address(number)}\n" for number, name in enumerate(self.names)]
        common = "".join(f"  {option.replace('=', ' ', 1)}\n" for option in self._ssh_options().split()[3::2])
        self.ssh_config.write_text(
            f"{''.join(lines)}Host *\n  User root\n  Port {self.port}\n  IdentityFile {self.directory}/key\n{common}"
            f"  ControlMaster auto\n  ControlPersist 1800\n  ControlPath {self.directory}/pp/%n\n"
        )

    def _ssh_options(self) -> str:
        known = f"-o UserKnownHostsFile={self.directory}/known_hosts -o HostKeyAlias=bench -o StrictHostKeyChecking=yes"
        return f"-F none {known} -o IdentitiesOnly=yes"

    def environment(self, **variables: str) -> dict[str, str]:
        """For Ansible; nothing of the user's own configuration is read."""
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL") if name in os.environ}
        return {
            **kept, "PATH": f"{peers.VENV}:{peers.CACHE}/bin:{os.environ['PATH']}", "ANSIBLE_COLLECTIONS_PATH": f"{peers.COLLECTIONS}:{peers.PEER_COLLECTIONS}",
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_FORKS": str(FORKS), "ANSIBLE_DEPRECATION_WARNINGS": "false", **variables,
        }

    def copy_to_all(self, number: int = 0) -> None:
        """Give all hosts the config dir of one, as it is."""
        for other in range(self.size):
            if other != number:
                shutil.rmtree(self.configs(other))
                subprocess.run(["cp", "-a", str(self.configs(number)), str(self.configs(other))], check=True)

    def empty(self) -> None:
        """Back to what a workspace has that never got a plugin."""
        for number in range(self.size):
            configs = self.configs(number)
            shutil.rmtree(configs, ignore_errors=True)
            configs.mkdir(parents=True)
            (configs / "config.yaml").write_text("runtime: claude-code\n")

    def require(self, wanted: pathlib.Path) -> None:
        """Raise :class:`NotDone` unless every host has exactly the plugins of ``wanted`` (directories by name): the same names and bytes, the agent's."""
        expected = tree(wanted)
        for number, name in enumerate(self.names):
            plugins = self.configs(number) / "plugins"
            if tree(plugins) != expected:
                raise NotDone(f"{name} does not have the plugins that it should have: {sorted(set(tree(plugins).items()) ^ set(expected.items()))[:3]}")
            strangers = [path for path in plugins.rglob("*") if path.lstat().st_uid != AGENT]
            if strangers:
                raise NotDone(f"{name}: {strangers[0]} is not the agent's")

    def warm(self) -> None:
        """A master for each host, for those contestants that are not Ansible."""
        none = subprocess.DEVNULL
        for start in range(0, self.size, FORKS):
            started = [subprocess.Popen(["ssh", "-F", self.ssh_config, name, "true"], stdin=none, stdout=none, stderr=none)
                       for name in self.names[start:start + FORKS]]
            for process in started:
                if process.wait():
                    raise NotDone("a host cannot be reached by ssh")

    def cool(self) -> None:
        """End all masters."""
        for path in [*(self.directory / "cp").glob("*"), *(self.directory / "pp").glob("*")]:
            subprocess.run(["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)


def _workspace(number: int) -> dict[str, Any]:
    """What the inventory plugin says of a workspace that it has found; the connection is the host's own."""
    identity = f"be4c0000-0000-4000-8000-{number:012x}"
    instance = f"i-0be4c{number:012x}"
    return {"workspace_id": identity, "workspace_tier": "eic", "workspace_backend": {
        "tier": "eic", "lookup": "found", "reason": "the inventory found it", "workspace_id": identity, "runtime": "claude-code", "container": None,
        "instance_id": instance, "config_dir": "/configs", "runtime_config_dir": "/configs",
        "restart": {"method": "ec2_host", "container": "molecule-workspace", "unit": None}, "stopped": None, "engine": None, "connection": {},
        "looked_up_at": int(time.time()), "download_hint": None,
    }}


def tree(directory: pathlib.Path) -> dict[str, bytes | None]:
    """Everything below a directory: a file's bytes, None for a directory."""
    found = {}
    for path in directory.rglob("*"):
        found[str(path.relative_to(directory))] = path.read_bytes() if path.is_file() else None
    return found


@contextlib.contextmanager
def hosts(size: int) -> Iterator[Hosts]:
    """``size`` hosts, without any plugin; gone at the end."""
    root = peers.debian()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp"))  # short, because sockets' paths are
    for name in ("cp", "pp", "hosts"):
        (directory / name).mkdir(mode=0o700)
    directory.chmod(0o711)
    with socket.create_server((door.address(0), 0)) as free:
        port = free.getsockname()[1]
    for file in (directory / "key", directory / "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(file)], check=True)
    (directory / "known_hosts").write_text(f"bench {(directory / 'host_key.pub').read_text()}")
    settings = directory / "hosts" / ".sshd"
    settings.mkdir()
    for name, source in (("host_key", "host_key"), ("authorized_keys", "key.pub")):
        shutil.copyfile(directory / source, settings / name)
        (settings / name).chmod(0o600 if name == "host_key" else 0o644)
    (settings / "sshd_config").write_text(_SSHD_CONFIG)
    made = Hosts(directory, size, port)
    (directory / "ansible.cfg").write_text("[defaults]\n")
    made.empty()
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", sys.executable, str(pathlib.Path(door.__file__)),
               str(root), str(directory / "hosts"), str(port), str(size)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise NotDone("the hosts did not start")
            yield made
        finally:
            made.cool()
            process.kill()  # unshare ignores SIGTERM
            process.wait()
            shutil.rmtree(directory, ignore_errors=True)
