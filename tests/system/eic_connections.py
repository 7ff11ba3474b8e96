# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections of the plugin without a play around them, so that a test of many failures takes a second each: what an Ansible worker does with one."""
from __future__ import annotations

import contextlib
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from ansible import constants as C
from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure, AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader, init_plugin_loader
from ansible_run import COLLECTIONS, Run
from lab.api import Lab

WORKSPACE = "eic-claude"


class Controller:
    """Opens connections to one workspace of the lab, each with the inventory's variables and those of the test.

    ``variables`` may be changed; ``directory`` is short, private and the test's own.
    """

    def __init__(self, lab: Lab, directory: pathlib.Path, workspace: str = WORKSPACE) -> None:
        with contextlib.suppress(AttributeError):  # it can be told only once per process
            init_plugin_loader([str(COLLECTIONS)])
        self.lab, self.directory, self.workspace = lab, directory, workspace
        # a key of its own, because the instance still accepts the one that an earlier test has pushed
        shutil.rmtree(pathlib.Path(C.DEFAULT_LOCAL_TMP) / "eic-key", ignore_errors=True)
        self.instance: dict[str, Any] = lab.world.reload().instance_of(lab.world.workspace(workspace)) or {}
        self.instance_id: str = self.instance["instance_id"]
        self.known_hosts = directory / "known_hosts"
        self.variables: dict[str, Any] = {
            "inventory_hostname": workspace,
            "ansible_user": "ubuntu",
            "ansible_eic_instance_id": self.instance_id,
            "ansible_eic_region": lab.world.data["region"],
            "ansible_eic_access_key": lab.world.data["credentials"]["access_key"],
            "ansible_eic_secret_key": lab.world.data["credentials"]["secret_key"],
            "ansible_eic_ca_bundle": lab.service["ca_file"],
            "ansible_eic_ec2_endpoint_url": lab.service["aws_url"],
            "ansible_eic_instance_connect_endpoint_url": lab.service["aws_url"],
            "ansible_eic_tunnel_address": lab.service["tunnel_address"],
            "ansible_eic_tunnel_timeout": 10,
            "ansible_eic_known_hosts_file": str(self.known_hosts),
            "ansible_eic_state_directory": str(directory / "state"),
            "ansible_eic_tunnel_wait": 3,
            "ansible_control_path_dir": str(directory / "cp"),
        }

    def give_target(self) -> None:
        """Set the variables that leave nothing to be looked up, which also spares the time for AWS clients."""
        (endpoint,) = self.lab.world.reload().data["endpoints"]
        self.variables.update(
            ansible_eic_private_address=self.instance["private_ip"], ansible_eic_endpoint_id=endpoint["id"], ansible_eic_endpoint_dns_name=endpoint["dns_name"]
        )

    def look_target_up(self) -> None:
        """Unset them."""
        for name in ("private_address", "endpoint_id", "endpoint_dns_name"):
            self.variables.pop(f"ansible_eic_{name}", None)

    def connection(self) -> Any:
        """A new connection object, as a worker makes one for each task."""
        play_context = PlayContext()
        play_context.remote_addr = self.workspace
        connection = connection_loader.get("molecule_ai.workspace.eic", play_context)
        connection.set_options(var_options=self.variables)
        return connection

    def run(self, command: str, in_data: bytes | None = None) -> tuple[int, bytes]:
        """Run a command; exit status and standard output."""
        status, output, _errors = self.connection().exec_command(command, in_data=in_data, sudoable=False)
        return status, output

    def failure(self, command: str = "true") -> tuple[str, str]:
        """Run a command that must fail to be run; how Ansible sees that (``unreachable``, ``authentication`` or ``failed``), and the sentence."""
        try:
            status, output = self.run(command)
        except AnsibleAuthenticationFailure as error:
            return "authentication", error.message
        except AnsibleConnectionFailure as error:
            return "unreachable", error.message
        except AnsibleError as error:
            return "failed", error.message
        raise AssertionError(f"it was run, with status {status} and output {output!r}")

    def close(self) -> None:
        """End the shared connections."""
        for path in (self.directory / "cp").glob("eic-*"):
            subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)

    def fault(self, name: str, **parameters: Any) -> None:
        """Switch a fault of the lab on."""
        self.lab.fault(name, **parameters)

    def leftovers(self) -> list[str]:
        """Names of files that no run should leave: sockets, locks, reports, tickets."""
        names = [path.name for path in (self.directory / "cp").glob("*")]
        return names + [path.name for path in pathlib.Path(C.DEFAULT_LOCAL_TMP).glob("eic-ticket*")]


@contextlib.contextmanager
def fresh_controller(lab: Lab, workspace: str = WORKSPACE) -> Iterator[Controller]:
    """A controller that has connected to nothing yet; the lab has no faults and its usual settings before and after."""
    lab.clear_faults()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))  # short, because sockets' paths are
    made = Controller(lab, directory, workspace)
    try:
        yield made
    finally:
        made.close()
        lab.clear_faults()
        lab.reset_settings()
        shutil.rmtree(directory)


@contextlib.contextmanager
def direct_address(lab: Lab, workspace: str, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[str, int]]:
    """An address and a port at which the instance's sshd can be reached without a tunnel, until the end of the context."""
    instance = lab.world.reload().instance_of(lab.world.workspace(workspace)) or {}
    command = ["docker", "-H", lab.world.data["docker_host"], "exec", "-i", instance["host_container"], "/usr/sbin/sshd", "-i", "-f", "/etc/ssh/sshd_config"]
    with socket.create_server((host, port)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _address = server.accept()
                    subprocess.Popen(command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[:2]
        finally:
            # closing alone would let the thread accept one more connection
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def play_with(controller: Controller, ansible: Callable[..., Run]) -> Callable[..., Run]:
    """A function that runs tasks on the controller's workspace, in a play with the controller's variables and directories."""

    def run(tasks: list[dict[str, Any]], environment: dict[str, str] | None = None, **options: Any) -> Run:
        variables = {name: value for name, value in controller.variables.items() if name != "inventory_hostname"}
        variables.update(ansible_connection="molecule_ai.workspace.eic", ansible_python_interpreter="/usr/bin/python3")
        inventory, playbook = controller.directory / "inventory.yml", controller.directory / "play.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {controller.workspace: variables}}}))
        inventory.chmod(0o600)
        playbook.write_text(yaml.safe_dump([{"name": "Keys", "hosts": "all", "gather_facts": False, "tasks": tasks}]))
        return ansible(playbook, inventory=inventory, environment={"ANSIBLE_LOCAL_TEMP": str(controller.directory / "tmp"), **(environment or {})}, **options)

    return run


class Counted:
    """How often something was counted by the lab since this object was made."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._before = lab, lab.counters()

    def __getitem__(self, name: str) -> int:
        return int(self._lab.counters()[name] - self._before[name])


class Marker:
    """A command that leaves a trace on the instance each time it starts."""

    def __init__(self, controller: Controller) -> None:
        self._lab, self._workspace = controller.lab, controller.workspace
        self.path = f"/tmp/ran-{uuid.uuid4().hex}"

    @property
    def command(self) -> str:
        return f"echo started >> {self.path}"

    def count(self) -> int:
        """How often it has started."""
        return self._lab.exec(self._workspace, "cat", self.path).stdout.count(b"started")

    def wait(self) -> None:
        """Until it has started."""
        for _attempt in range(100):
            if self.count():
                return
            threading.Event().wait(0.1)
        raise AssertionError("the command did not start")


@contextlib.contextmanager
def changed_world(lab: Lab) -> Iterator[dict[str, Any]]:
    """The lab's world, to be changed by the test inside; as before at the end."""
    import copy

    with lab.world.transaction() as data:
        before = copy.deepcopy(data)

    class _World(dict[str, Any]):
        def save(self) -> None:
            with lab.world.transaction() as data:
                data.clear()
                data.update(self)

    try:
        yield _World(copy.deepcopy(before))
    finally:
        with lab.world.transaction() as data:
            data.clear()
            data.update(before)
