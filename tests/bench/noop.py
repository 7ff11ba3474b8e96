# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing to change: ten plugins on W workspaces, as a task, as the playbooks that people run, and what other tools need to know as much."""
from __future__ import annotations

import hashlib
import pathlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import ansible.release
import fleets
import measure
import peers
import yaml
from fleets import AUDIT, INSTALL, TASK, Fleet
from hosts import FORKS
from measure import Contestant, NotDone, Reading

_DRIFTED = "plugin-3/skills/work/page-4.md"
# In an environment of its own, with the ansible-core that all others use.
_MITOGEN = ("mitogen", f"ansible-core=={ansible.release.__version__}")


def measured(sizes: list[int], rounds: int, peer_size: int) -> Iterator[dict[str, Any]]:
    """Tables of the bars for no-op converge and audit, and of the peers at ``peer_size`` hosts."""
    for size in sorted({*sizes, peer_size}):
        with fleets.fleet(size) as fleet:
            contestants = _ours(fleet) if size in sizes else _ours(fleet)[:2]
            if size == peer_size:
                contestants += _peers(fleet)
            fleet.ping()
            fleet.hosts.warm()
            results = measure.compare(contestants, rounds)
            yield {"scenario": "no-op", "hosts": size, "results": {name: result.data() for name, result in results.items()}}


def _ours(fleet: Fleet) -> list[Contestant]:
    audit_task = fleet.playbook("audit-task.yml", [TASK], check_mode=True)
    look = [
        Contestant("ping", "ansible -m ping", fleet.ping, check=fleet.all_answered),
        Contestant("task", "molecule_plugin, one task", lambda: fleet.play(fleet.task), check=fleet.unchanged),
        Contestant("audit task", "molecule_plugin in check mode, one task", lambda: fleet.play(audit_task), check=fleet.unchanged),
        Contestant("install", "playbook install", lambda: fleet.play(INSTALL), check=fleet.unchanged),
        Contestant("audit", "playbook audit", lambda: fleet.play(AUDIT), check=fleet.unchanged),
    ]
    return look


def _peers(fleet: Fleet) -> list[Contestant]:
    """Other ways to know that nothing has changed. Each must first show that it sees one changed file on one host."""
    peers.programs()
    peers.posix_collection()
    each_host = f"printf '%s\\n' {' '.join(fleet.hosts.names)} | xargs -P {FORKS} -I % "
    ssh = f"ssh -F {fleet.hosts.ssh_config}"
    expected = fleet.directory / "sums"
    summing = "cd /configs/plugins && find . -type f -print0 | sort -z | xargs -0 sha256sum"
    expected.write_text(measure.run(["sh", "-c", summing.replace("/configs/plugins", str(fleet.wanted))]).output)
    script = fleet.directory / "sum.sh"
    script.write_text(f"{ssh} \"$1\" '{summing}' | cmp -s - {expected} || echo \"$1 differs\"\n")
    synchronize = fleet.playbook("synchronize.yml", [{"ansible.posix.synchronize": {
        "src": f"{fleet.wanted}/", "dest": "/configs/plugins/", "checksum": True, "archive": False, "recursive": True, "delete": True,
    }}], check_mode=True)
    stock, lean = fleet.playbook("stock.yml", _stock(fleet.wanted)), fleet.playbook("lean.yml", _lean(fleet.wanted))
    mitogen = _mitogen(fleet)
    deploy = fleet.directory / "deploy.py"
    deploy.write_text(
        "from pyinfra.operations import files\n"
        f"files.sync(src={str(fleet.wanted)!r}, dest='/configs/plugins', user='ubuntu', group='ubuntu', delete=True)\n"
    )
    (fleet.directory / "fleet.py").write_text(f"hosts = {[(name, _pyinfra_host(fleet, number)) for number, name in enumerate(fleet.hosts.names)]!r}\n")
    ways: list[tuple[str, str, Callable[[], Reading], Callable[[Reading], bool]]] = [
        ("ssh sums", "parallel ssh, warm masters: find, sort, sha256sum", lambda: _script([f"{each_host} sh {script} %"], fleet), _says("differs")),
        ("rsync", "parallel rsync -nac --delete, warm masters",
         lambda: _script([f"{each_host} rsync -nrpc -i --delete -e '{ssh}' {fleet.wanted}/ %:/configs/plugins/"], fleet), _says("page-4")),
        ("synchronize", "ansible.posix.synchronize, check mode with checksums", lambda: fleet.play(synchronize), _changed),
        ("stock audit", "stock playbook: stat, find, assert for each plugin", lambda: fleet.play(stock, status=None), _failed),
        ("lean stock audit", "stock playbook: one find for all plugins", lambda: fleet.play(lean, status=None), _failed),
        ("pyinfra", "pyinfra files.sync, dry run", lambda: _pyinfra(fleet), lambda reading: re.search(r"files\.sync.*\) +\d+ \(", reading.output) is not None),
        ("mitogen ping", "ansible -m ping with Mitogen's strategy", lambda: mitogen("ping"), lambda _reading: True),
        ("mitogen audit", "one find for all plugins, with Mitogen's strategy", lambda: mitogen("lean"), _failed),
    ]
    return [_seeing(fleet, *way) for way in ways]


def _seeing(fleet: Fleet, name: str, shown: str, run: Callable[[], Reading], sees: Callable[[Reading], bool]) -> Contestant:
    """A contestant that proves before its first round that it can tell a difference."""
    proved: list[bool] = []

    def prepare() -> None:
        if proved:
            return
        path = fleet.hosts.configs(fleet.hosts.size - 1) / "plugins" / _DRIFTED
        content = path.read_bytes()
        try:
            path.write_bytes(content[:-1] + b"!")
            if not sees(run()):
                raise NotDone(f"{name} does not see a changed file")
        finally:
            path.write_bytes(content)
        proved.append(True)

    def check(reading: Reading) -> None:
        if name != "mitogen ping" and sees(reading):
            raise NotDone(f"{name} sees a difference where there is none:\n{reading.output[-1000:]}")
        fleet.hosts.require(fleet.wanted)

    return Contestant(name, shown, run, prepare, check)


def _says(word: str) -> Callable[[Reading], bool]:
    return lambda reading: word in reading.output


def _changed(reading: Reading) -> bool:
    return any(line.split("changed=")[1].split()[0] != "0" for line in reading.output.splitlines() if "changed=" in line)


def _failed(reading: Reading) -> bool:
    if "failed=" not in reading.output:
        raise NotDone(f"the playbook did not run:\n{reading.output[-1500:]}")
    return any(line.split("failed=")[1].split()[0] != "0" for line in reading.output.splitlines() if "failed=" in line)


def _script(command: list[str], fleet: Fleet) -> Reading:
    return measure.run(["sh", "-c", *command], fleet.hosts.environment(), fleet.directory)


def _sums(wanted: pathlib.Path) -> dict[str, str]:
    files = sorted(path for path in wanted.rglob("*") if path.is_file())
    return {f"/configs/plugins/{path.relative_to(wanted)}": hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


_FOUND = "dict({0}.files | map(attribute='path') | zip({0}.files | map(attribute='checksum')))"
_FIND: dict[str, Any] = {"recurse": True, "hidden": True, "get_checksum": True, "checksum_algorithm": "sha256"}


def _lean(wanted: pathlib.Path) -> list[dict[str, Any]]:
    """One remote execution: the most that the stock modules can do, with all sums in the playbook."""
    return [
        {"name": "Look", "ansible.builtin.find": {"paths": "/configs/plugins", **_FIND}, "register": "found"},
        {"name": "Compare", "ansible.builtin.assert": {"quiet": True, "that": f"{_FOUND.format('found')} == sums"}, "vars": {"sums": _sums(wanted)}},
    ]


def _stock(wanted: pathlib.Path) -> list[dict[str, Any]]:
    """Plugin by plugin: is it there, what is in it."""
    plugins = sorted(path.name for path in wanted.iterdir())
    sums = _sums(wanted)
    by_plugin = {plugin: {path: digest for path, digest in sums.items() if path.startswith(f"/configs/plugins/{plugin}/")} for plugin in plugins}
    return [
        {"name": "Is it there", "ansible.builtin.stat": {"path": "/configs/plugins/{{ item }}"}, "loop": plugins, "register": "there"},
        {"name": "Look", "ansible.builtin.find": {"paths": "/configs/plugins/{{ item }}", **_FIND}, "loop": plugins, "register": "found",
         "loop_control": {"label": "{{ item }}"}},
        {"name": "Compare", "ansible.builtin.assert": {"quiet": True, "that": [
            "there.results[index].stat.isdir", f"{_FOUND.format('item')} == sums[item.item]"]},
         "loop": "{{ found.results }}", "loop_control": {"label": "{{ item.item }}", "index_var": "index"}, "vars": {"sums": by_plugin}},
    ]


def _pyinfra_host(fleet: Fleet, number: int) -> dict[str, Any]:
    import door

    return {"ssh_hostname": door.address(number), "ssh_port": fleet.hosts.port, "ssh_user": "root", "ssh_key": str(fleet.directory / "key"),
            "ssh_known_hosts_file": str(fleet.directory / "known_hosts"), "ssh_strict_host_key_checking": "off"}


def _pyinfra(fleet: Fleet) -> Reading:
    program = peers.environment("pyinfra", "pyinfra") / "pyinfra"
    return measure.run([program, "--dry", "-v", "--parallel", str(FORKS), "fleet.py", "deploy.py"], fleet.hosts.environment(), fleet.directory)


def _mitogen(fleet: Fleet) -> Callable[[str], Reading]:
    """Runs a playbook with Mitogen in an environment of its own."""
    plays = {"ping": [{"ansible.builtin.ping": {}}], "lean": _lean(fleet.wanted)}
    paths = {name: fleet.playbook(f"mitogen-{name}.yml", tasks) for name, tasks in plays.items()}

    def run(name: str) -> Reading:
        programs = peers.environment("mitogen", *_MITOGEN)
        found = measure.run([programs / "python", "-c", "import ansible_mitogen; print(ansible_mitogen.__path__[0])"]).output.strip()
        environment = fleet.hosts.environment(ANSIBLE_STRATEGY_PLUGINS=f"{found}/plugins/strategy", ANSIBLE_STRATEGY="mitogen_linear")
        environment["PATH"] = f"{programs}:{environment['PATH']}"
        inventory = fleet.directory / "mitogen.yml"
        content = yaml.safe_load(fleet.hosts.inventory.read_text())
        # Mitogen has masters of its own
        del content["workspaces"]["vars"]["ansible_ssh_args"]
        inventory.write_text(yaml.safe_dump(content))
        reading = measure.run([programs / "ansible-playbook", "-i", inventory, paths[name]], environment, fleet.directory, status=None)
        if f"{fleet.hosts.names[0]} " not in reading.output or "ok=" not in reading.output:
            raise NotDone(f"Mitogen does not run:\n{reading.output[-1500:]}")
        return reading

    return run
