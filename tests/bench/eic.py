# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 Instance Connect on the lab: a cold workspace, the start of the tunnel, its throughput, and the platform's own way to install."""
from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import content
import measure
import peers
import yaml
from measure import Contestant, NotDone, Reading, Result

sys.path[:0] = [str(peers.REPOSITORY / "tests"), str(peers.REPOSITORY / "tests" / "system")]

from lab.api import Lab
from lab.machines import SSHD_COMMAND
from lab.world import ENDPOINT_ID

_BANNER = b"SSH-2.0-"
_MEBIBYTE = 2**20


class Aws:
    """The AWS CLI of Debian against the lab's AWS. ``environment`` is for whatever starts ``script`` with the command's words."""

    def __init__(self, lab: Lab, directory: pathlib.Path) -> None:
        root = peers.debian()
        self.root = root
        certificates = root / "etc/ssl/certs/ca-certificates.crt"
        plain = root / "etc/ssl/certs/ca-certificates.crt.debian"
        if not plain.exists():
            shutil.copyfile(certificates, plain)
        certificates.write_bytes(plain.read_bytes() + pathlib.Path(lab.service["ca_file"]).read_bytes())
        self.environment = {
            **lab.environment(), "AWS_CA_BUNDLE": "/etc/ssl/certs/ca-certificates.crt", "AWS_DEFAULT_REGION": lab.world.data["region"],
            "AWS_ENDPOINT_URL_EC2": lab.service["aws_url"], "AWS_ENDPOINT_URL_EC2_INSTANCE_CONNECT": lab.service["aws_url"],
            "HTTPS_PROXY": lab.service["proxy_url"], "https_proxy": lab.service["proxy_url"], "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }
        self.script = directory / "aws"
        self.script.write_text(f"#!/bin/sh\nexec chroot {root} /usr/bin/aws \"$@\"\n")
        self.script.chmod(0o755)
        (endpoint,) = lab.world.reload().data["endpoints"]
        self._endpoint = endpoint

    def tunnel(self, instance: dict[str, Any], *, look_up: bool) -> list[str]:
        """The command of a tunnel; without ``look_up``, nothing is left for it to ask."""
        known = ["--private-ip-address", instance["private_ip"], "--instance-connect-endpoint-id", ENDPOINT_ID,
                 "--instance-connect-endpoint-dns-name", self._endpoint["dns_name"]]
        return [str(self.script), "ec2-instance-connect", "open-tunnel", *(["--instance-id", instance["instance_id"]] if look_up else known)]

    def push(self, instance: dict[str, Any], key: pathlib.Path) -> list[str]:
        """The command that pushes a public key."""
        return [str(self.script), "ec2-instance-connect", "send-ssh-public-key", "--instance-id", instance["instance_id"],
                "--instance-os-user", "ubuntu", "--ssh-public-key", key.read_text().strip()]


def _first_byte(command: list[str], environment: dict[str, str] | None) -> Reading:
    """From the start of a tunnel to the SSH server's first word."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    said = os.read(process.stdout.fileno(), len(_BANNER))
    wall = time.perf_counter() - started
    process.stdin.close()
    if said != _BANNER:
        process.kill()
        raise NotDone(f"no SSH server at the end of the tunnel: {said!r} {process.stderr.read().decode()[-1000:]}")
    process.kill()  # the AWS CLI does not end by itself when its input has
    _pid, _status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return Reading(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, "")


@contextlib.contextmanager
def _our_tunnel(controller: Any) -> Iterator[list[str]]:
    """The command of the collection's tunnel, as ssh would start it, with its ticket."""
    from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import eic_session

    connection = controller.connection()
    command = connection._build_command("ssh", "ssh", "x")
    (proxy,) = [argument.decode().removeprefix("ProxyCommand=") for argument in command if argument.startswith(b"ProxyCommand=")]
    with eic_session.ticket(connection._settings(), connection._ticket_path):
        yield proxy.split(" ")


def measured(rounds: int, mebibytes: int) -> Iterator[dict[str, Any]]:
    """All tables of this file."""
    from eic_connections import fresh_controller

    with Lab() as lab, fresh_controller(lab) as controller:
        aws = Aws(lab, controller.directory)
        controller.give_target()

        def ours() -> Reading:
            with _our_tunnel(controller) as command:
                return _first_byte(command, lab.environment())

        starts = [
            Contestant("ours", "our tunnel, key push included", ours),
            Contestant("aws", "aws ec2-instance-connect open-tunnel, without a key push",
                       lambda: _first_byte(aws.tunnel(controller.instance, look_up=False), aws.environment)),
        ]
        results = measure.compare(starts, rounds)
        yield {"scenario": "tunnel start", "results": {name: each.data() for name, each in results.items()}}
        yield _cold(lab, rounds)
        yield _throughput(lab, controller, aws, rounds, mebibytes)
        yield _platform(lab, controller.directory, aws, rounds)


def _cold(lab: Lab, rounds: int) -> dict[str, Any]:
    """One task on hosts that nobody is connected to, and on the same hosts warm: what a connection costs, and how many of what it makes."""
    from eic_fleet import Tally, fleet, raw

    counted: dict[str, float] = {}
    hosts = 4
    with fleet(lab, hosts) as cold:
        inventory, playbook = cold._write([raw()], {})
        command = [str(peers.VENV / "ansible-playbook"), "-i", str(inventory), str(playbook)]
        plain_inventory = cold.directory / "plain.yml"
        key = cold.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "b", "-f", str(key)], check=True)
        docker = shutil.which("docker")
        plain_inventory.write_text(yaml.safe_dump({"all": {"vars": {
            "ansible_connection": "ansible.builtin.ssh", "ansible_user": "ubuntu", "ansible_ssh_private_key_file": str(key),
            "ansible_control_path_dir": str(cold.directory / "cp"), "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60 -o StrictHostKeyChecking=accept-new "
                                f"-o UserKnownHostsFile={cold.directory}/plain_hosts",
        }, "hosts": {
            each["tags"]["Name"]: {
                "ansible_host": each["instance_id"],
                "ansible_ssh_common_args": f"-o ProxyCommand='{docker} -H {lab.world.data['docker_host']} exec -i {each['host_container']} "
                                           "/usr/sbin/sshd -i -e -f /etc/ssh/sshd_config'",
            } for each in cold.instances}}}))

        def close() -> float:
            for path in (cold.directory / "cp").glob("*"):
                subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)
            deadline, used = time.monotonic() + 5, 0.0
            while time.monotonic() < deadline and measure.has_children():
                used += measure.reap()
                time.sleep(0.05)
            return used

        def run(which: pathlib.Path, *, stay: bool) -> Callable[[], Reading]:
            def measured_run() -> Reading:
                environment = {**cold.environment, "ANSIBLE_NOCOLOR": "1"}
                environment.pop("ANSIBLE_INVENTORY", None)
                tally = Tally(lab)
                reading = measure.run([*command[:1], "-i", str(which), str(playbook)], environment, cold.directory)
                if which == inventory and not stay:
                    for name in ("tunnels", "key_pushes", "describe_instances", "describe_endpoints"):
                        counted[f"{name} for {hosts} hosts"] = tally[name]
                    counted[f"logins for {hosts} hosts"] = tally.logins()
                return reading if stay else Reading(reading.wall, reading.cpu + close(), reading.memory, reading.output)
            return measured_run

        def push_keys() -> None:
            close()
            for each in cold.instances:
                store = pathlib.Path(lab.world.data["key_store"]) / (each.get("host_instance_id") or each["instance_id"])
                store.joinpath("ubuntu").write_text(f"{time.time() + 600} {key.with_suffix('.pub').read_text()}")

        def warm(which: pathlib.Path) -> Callable[[], None]:
            def prepare() -> None:
                push_keys()
                run(which, stay=True)()
            return prepare

        contestants = [
            Contestant("ours cold", "eic connection, cold", run(inventory, stay=False), prepare=lambda: float(close()) and None),
            Contestant("ours warm", "eic connection, warm", run(inventory, stay=True), prepare=warm(inventory)),
            Contestant("plain cold", "ansible.builtin.ssh with docker exec as ProxyCommand, cold", run(plain_inventory, stay=False), prepare=push_keys),
            Contestant("plain warm", "the same, warm", run(plain_inventory, stay=True), prepare=warm(plain_inventory)),
        ]
        results = measure.compare(contestants, rounds)
        results["ours cold"].extra = counted
        close()
    return {"scenario": "cold", "hosts": hosts, "results": {name: each.data() for name, each in results.items()}}


def _throughput(lab: Lab, controller: Any, aws: Aws, rounds: int, mebibytes: int) -> dict[str, Any]:
    """Noise into ``cat`` on the instance, through one ssh session."""
    noise = controller.directory / "noise"
    noise.write_bytes(os.urandom(_MEBIBYTE) * mebibytes)
    key = controller.directory / "throughput-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "b", "-f", str(key)], check=True)
    store = pathlib.Path(lab.world.data["key_store"]) / controller.instance_id / "ubuntu"
    peaks: list[float] = []

    def send(proxy: list[str], environment: dict[str, str] | None, watch: bool = False) -> Reading:
        store.write_text(f"{time.time() + 600} {key.with_suffix('.pub').read_text()}")
        options = ["-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={' '.join(proxy)}"]
        started = time.perf_counter()
        with open(noise, "rb") as stream:
            process = subprocess.Popen(["ssh", *options, "ubuntu@x", "wc -c"], stdin=stream, stdout=subprocess.PIPE, env=environment)
            peak = 0.0
            while process.poll() is None:
                if watch:
                    peak = max(peak, *(_peak(child) for child in _descendants(process.pid)), 0.0)
                time.sleep(0.05)
        wall = time.perf_counter() - started
        assert process.stdout is not None
        if process.stdout.read().strip() != str(mebibytes * _MEBIBYTE).encode():
            raise NotDone("not all bytes arrived")
        if watch:
            peaks.append(peak)
        return Reading(wall, 0.0, peak, "")

    def ours() -> Reading:
        with _our_tunnel(controller) as command:
            return send(command, lab.environment(), watch=True)

    machine = controller.instance["host_container"]
    direct = [str(shutil.which("docker")), "-H", lab.world.data["docker_host"], "exec", "-i", machine, *SSHD_COMMAND]
    contestants = [
        Contestant("ours", "our tunnel", ours),
        Contestant("aws", "AWS CLI's tunnel", lambda: send(aws.tunnel(controller.instance, look_up=False), aws.environment, watch=True)),
        Contestant("direct", "plain ssh to the same sshd, without the lab's gateway", lambda: send(direct, None)),
    ]
    results = measure.compare(contestants, rounds)
    for each in results.values():
        each.cpu = []
    return {"scenario": "throughput", "mebibytes": mebibytes, "results": {name: each.data() for name, each in results.items()}}


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in pathlib.Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _peak(process: int) -> float:
    """The most resident memory that a process has had, in MiB."""
    try:
        match = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0.0
    return int(match.group(1)) / 1024 if match else 0.0


def _platform(lab: Lab, directory: pathlib.Path, aws: Aws, rounds: int) -> dict[str, Any]:
    """Four plugins on the lab's instances: ours in one go, the platform's way with one call per plugin and instance; no restart in either."""
    names = ["eic-claude", "eic-hermes", "eic-langgraph"]
    wanted = directory / "wanted"
    plugins = content.write(wanted, 4)
    expected = {f"{path.relative_to(wanted)}" for path in wanted.rglob("*") if path.is_file()}
    key = directory / "platform-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "b", "-f", str(key)], check=True)
    play = directory / "platform.yml"
    play.write_text(yaml.safe_dump([{"name": "Install", "hosts": ",".join(names), "gather_facts": False, "strategy": "ansible.builtin.host_pinned", "tasks": [
        {"ansible.builtin.include_role": {"name": "molecule_ai.workspace.backend"}},
        {"molecule_ai.workspace.molecule_plugin": {"plugins": plugins}},
    ]}]))
    script = directory / "platform.sh"
    lines = ["set -e", "case $1 in"]
    for name in names:
        instance = lab.world.instance_of(lab.world.workspace(name))
        assert instance is not None
        push = " ".join(f"'{word}'" for word in aws.push(instance, key.with_suffix(".pub")))
        tunnel = " ".join(aws.tunnel(instance, look_up=True))
        target = f"{lab.config_dir(name)}/plugins"
        lines.append(f"{name})")
        for plugin in plugins:
            live = f"{target}/{plugin['name']}"
            put = f"sudo rm -rf {live} && sudo mkdir -p {target} && sudo tar -xz -C {target} && sudo chown -R 1000:1000 {live}"
            lines.append(
                f"{push} > /dev/null; tar -cz -C {wanted} {plugin['name']} | ssh -F none -i {key} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "
                f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ProxyCommand='{tunnel}' ubuntu@x '{put}'"
            )
        lines.append(";;")
    script.write_text("\n".join([*lines, "esac", ""]))

    def reset() -> None:
        for path in directory.joinpath("cp-platform").glob("*"):
            subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)
        for name in names:
            lab.remove(name, "plugins")
            lab.remove(name, ".molecule_ai")

    def check(_reading: Reading) -> None:
        for name in names:
            items = lab.snapshot(name, "plugins")
            found = {path: item for path, item in items.items() if item.type == "file"}
            if set(found) != expected or any(item.uid != 1000 for path, item in items.items() if path):
                raise NotDone(f"{name} does not have the plugins that it should have")

    environment = {**lab.environment(), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "cp-platform")}
    all_instances = f"printf '%s\\n' {' '.join(names)} | xargs -P 10 -I % sh {script} %"
    contestants = [
        Contestant("ours", "roles backend and task molecule_plugin, cold connections",
                   lambda: measure.run([peers.VENV / "ansible-playbook", "-i", lab.inventory, play], environment, directory), reset, check),
        Contestant("platform", "the platform's sequence with the AWS CLI, one call per plugin, instances side by side",
                   lambda: measure.run(["sh", "-c", all_instances], aws.environment, directory), reset, check),
    ]
    results: dict[str, Result] = measure.compare(contestants, rounds)
    reset()
    return {"scenario": "platform", "hosts": len(names), "plugins": 4, "results": {name: each.data() for name, each in results.items()}}
