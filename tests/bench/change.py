# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Something to change on warm workspaces: one plugin of 1 MiB, or ten of them, at several round-trip times."""
from __future__ import annotations

import contextlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import content
import door
import fleets
import measure
import yaml
from fleets import Fleet
from hosts import FORKS
from latency import latency
from measure import Contestant

_RELAY = "127.78."


def measured(size: int, milliseconds: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    """One table per latency for ``size`` hosts, and one for a single host, from which round trips can be told."""
    with fleets.fleet(size) as fleet:
        seeds = itertools.count(2)
        for delay in milliseconds:
            for hosts in sorted({1, size} if delay else {size}):
                with _network(fleet, delay) as inventory:
                    limit = ["--limit", ",".join(fleet.hosts.names[:hosts])]
                    results = measure.compare(_contestants(fleet, seeds, inventory, limit, hosts), rounds)
                yield {"scenario": "install", "hosts": hosts, "latency": delay, "results": {name: each.data() for name, each in results.items()}}
        if size != 1:
            results = measure.compare(_contestants(fleet, seeds, fleet.hosts.inventory, ["--limit", fleet.hosts.names[0]], 1), rounds)
            yield {"scenario": "install", "hosts": 1, "latency": 0, "results": {name: each.data() for name, each in results.items()}}


@contextlib.contextmanager
def _network(fleet: Fleet, milliseconds: int) -> Any:
    """The inventory whose hosts are that far away; masters are made before anything is measured."""
    addresses = [door.address(number) for number in range(fleet.hosts.size)]
    far = [_RELAY + address.split(".", 2)[2] for address in addresses]
    port = fleet.hosts.port
    relay = latency(milliseconds, [(f"{there}:{port}", f"{here}:{port}") for there, here in zip(far, addresses)])
    with relay if milliseconds else contextlib.nullcontext():
        if not milliseconds:
            fleet.ping()
            inventory = fleet.hosts.inventory
        else:
            inventory = _write_inventory(fleet, milliseconds, far)
            measure.run(["ansible", "workspaces", "-i", str(inventory), "-m", "ansible.builtin.ping"], fleet.hosts.environment(), fleet.directory)
        yield inventory


def _write_inventory(fleet: Fleet, milliseconds: int, addresses: list[str]) -> pathlib.Path:
    """An inventory of the same hosts at other addresses, with connections of its own."""
    inventory: pathlib.Path = fleet.directory / f"inventory-{milliseconds}.yml"
    found = yaml.safe_load(fleet.hosts.inventory.read_text())
    for number, name in enumerate(fleet.hosts.names):
        found["workspaces"]["hosts"][name]["ansible_host"] = addresses[number]
    found["workspaces"]["vars"]["ansible_control_path_dir"] = str(fleet.directory / "cp" / str(milliseconds))
    inventory.write_text(yaml.safe_dump(found))
    return inventory


def _contestants(fleet: Fleet, seeds: Any, inventory: pathlib.Path, limit: list[str], hosts: int) -> list[Contestant]:
    def ping() -> measure.Reading:
        command = ["ansible", "workspaces", "-i", str(inventory), "-m", "ansible.builtin.ping", *limit]
        return measure.run(command, fleet.hosts.environment(), fleet.directory)

    def new_version(only: int | None) -> None:
        content.write(fleet.wanted, only=only, mebibytes=1, seed=next(seeds))

    def check(_reading: measure.Reading) -> None:
        all_hosts, fleet.hosts.size = fleet.hosts.size, hosts
        names, fleet.hosts.names = fleet.hosts.names, fleet.hosts.names[:hosts]
        try:
            fleet.hosts.require(fleet.wanted)
        finally:
            fleet.hosts.size, fleet.hosts.names = all_hosts, names

    def converge() -> measure.Reading:
        return fleet.play(fleet.task, *limit, inventory=inventory)

    new_version(None)
    converge()
    found = [
        Contestant("ping", "ansible -m ping", ping),
        Contestant("one", "molecule_plugin, one changed plugin of 1 MiB", converge, lambda: new_version(0), check),
        Contestant("ten", "molecule_plugin, ten changed plugins of 1 MiB", converge, lambda: new_version(None), check),
    ]
    if inventory == fleet.hosts.inventory:
        found.append(Contestant("wire", "tar -x of the same plugin on a stream of one ssh session per host, warm", lambda: _wire(fleet, hosts),
                                lambda: _ready_for_wire(fleet, hosts, next(seeds)), check))
    return found


def _ready_for_wire(fleet: Fleet, hosts: int, seed: int) -> None:
    """A new version of the plugin that ours do not have yet, and masters."""
    content.write(fleet.wanted, only=0, mebibytes=1, seed=seed)
    measure.run(["sh", "-c", f"printf '%s\\n' {' '.join(fleet.hosts.names[:hosts])} | xargs -P {FORKS} -I % ssh -F {fleet.hosts.ssh_config} % true"])


def _wire(fleet: Fleet, hosts: int) -> measure.Reading:
    script = fleet.directory / "wire.sh"
    put = "cd /configs/plugins && rm -rf plugin-0 && tar -xz && chown -R 1000:1000 plugin-0"
    script.write_text(f"tar -cz -C {fleet.wanted} plugin-0 | ssh -F {fleet.hosts.ssh_config} \"$1\" '{put}'\n")
    return measure.run(["sh", "-c", f"printf '%s\\n' {' '.join(fleet.hosts.names[:hosts])} | xargs -P {FORKS} -I % sh {script} %"])
