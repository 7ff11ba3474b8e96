# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m lab``: start the lab, show it, take it away."""
from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import docker
import docker.errors

from . import engine as engines
from . import fixtures, image, inventory, machines
from . import world as worlds
from .api import Lab
from .engine import LabError
from .paths import REPOSITORY, Paths, image_cache
from .process import is_alive, read_pid, stop_process
from .progress import Progress
from .world import World

SERVICE_TIMEOUT = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (2: the lab cannot do that, and a sentence said why)."""
    parser = argparse.ArgumentParser(prog="python -m lab", description="Real workspaces to run the collection against, on this machine.")
    parser.add_argument("--state", help="the lab's state directory (default: .lab in this checkout)")
    parser.add_argument("--quiet", action="store_true", help="say nothing about the progress")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the lab; a running lab is left as it is").set_defaults(run=up)
    status_parser = commands.add_parser("status", help="show each workspace: its machine, how often its runtime started, what it loaded")
    status_parser.add_argument("--json", action="store_true", help="as JSON")
    status_parser.set_defaults(run=status)
    down_parser = commands.add_parser("down", help="remove containers, volumes and sockets, stop the services and the engine; the cached image stays")
    down_parser.add_argument("--purge", action="store_true", help="remove the state directory and the cached image, too")
    down_parser.set_defaults(run=down)
    for run, help_text in ((starts, "the starts of a workspace's runtime, as JSON"), (plugins, "what a workspace's runtime loaded, as JSON")):
        query = commands.add_parser(run.__name__, help=help_text)
        query.add_argument("workspace", help="name or id")
        query.set_defaults(run=run)
    files_parser = commands.add_parser("files", help="what is in a workspace's config directory, as JSON: kind, mode, owner, SHA-256 by path")
    files_parser.add_argument("workspace", help="name or id")
    files_parser.set_defaults(run=files)
    show_parser = commands.add_parser("show", help="print a file of a workspace's config directory")
    show_parser.add_argument("workspace", help="name or id")
    show_parser.add_argument("path", help="below the config directory")
    show_parser.set_defaults(run=show)
    reset_parser = commands.add_parser("reset", help="make a workspace fresh: empty config directory, runtime started once more")
    reset_parser.add_argument("workspace", help="name or id")
    reset_parser.set_defaults(run=reset)
    fixtures_parser = commands.add_parser("fixtures", help="write the synthetic plugins, one directory each")
    fixtures_parser.add_argument("directory", help="where to, made if it is missing")
    fixtures_parser.set_defaults(run=write_fixtures)
    options = parser.parse_args(arguments)
    try:
        with _one_at_a_time(Paths.of(options.state)) if options.run in (up, down) else contextlib.nullcontext():
            return int(options.run(Paths.of(options.state), Progress(quiet=options.quiet), options))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except KeyError as error:
        print(f"lab: there is no workspace {error}; `python -m lab status` lists them", file=sys.stderr)
    except FileNotFoundError as error:
        if error.filename != str(Paths.of(options.state).world):
            raise
        print("lab: not running; start it with `python -m lab up`", file=sys.stderr)
    except PermissionError as error:
        print(f"lab: not allowed: {error}; run this as the user who started the lab (sudo)", file=sys.stderr)
    except docker.errors.DockerException as error:
        print(f"lab: the Docker engine failed: {error}", file=sys.stderr)
    return 2


@contextlib.contextmanager
def _one_at_a_time(paths: Paths) -> Iterator[None]:
    """Wait until no other process starts or stops this lab."""
    paths.state.mkdir(parents=True, exist_ok=True)
    with open(paths.command_lock, "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(paths: Paths, progress: Progress, _options: argparse.Namespace) -> int:
    """Start what does not run yet: engine, image, machines, services; then write the inventory."""
    start = time.monotonic()
    progress.say(f"Docker engine at {engines.docker_host(paths)}")
    engines.start(paths)
    engine = engines.client(engines.docker_host(paths))
    try:
        image_name = image.ensure(engine, progress)
        _machines(engine, paths, image_name, progress)
    finally:
        engine.close()
    _start_services(paths, progress)
    inventory.write(Lab(paths.state))
    progress.say(f"up after {time.monotonic() - start:.1f} s. Use it by hand: . {paths.environment} && ansible-inventory --graph")
    return 0


def status(paths: Paths, _progress: Progress, options: argparse.Namespace) -> int:
    """Print one row per workspace."""
    with Lab(paths.state) as lab:
        rows = [_row(lab, workspace) for workspace in lab.world.data["workspaces"]]
    if options.json:
        print(json.dumps(rows, indent=2))
        return 0
    table = [["WORKSPACE", "KIND", "RUNTIME", "MACHINE", "STATE", "STARTS", "PLUGINS"]]
    table += [[row["name"], row["kind"], row["runtime"], row["machine"] or "-", row["state"] or "-",
               "-" if row["starts"] is None else str(row["starts"]), ", ".join(row["plugins"]) or "-"] for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    print(f"services: {'running' if _service_runs(paths) else 'not running'}")
    return 0


def down(paths: Paths, progress: Progress, options: argparse.Namespace) -> int:
    """Take the lab away; nothing to take away is fine."""
    progress.say("stopping the simulated services")
    _stop_services(paths)
    host = engines.docker_host(paths)
    if engines.died(paths):
        progress.say("starting the Docker engine again, because it died and its containers may still run")
        engines.start(paths)
    if engines.answers(host):
        engine = engines.client(host)
        try:
            with progress.step("removing containers and volumes"):
                machines.remove_all(engine, worlds.build(paths, host))
        finally:
            engine.close()
    progress.say("stopping the Docker engine" if not os.environ.get("LAB_DOCKER_HOST") else "leaving the named Docker engine running")
    engines.stop(paths)
    for file in (paths.world, paths.service, paths.inventory, paths.environment, paths.known_hosts):
        file.unlink(missing_ok=True)
    for directory in (paths.key_store, paths.sockets):
        shutil.rmtree(directory, ignore_errors=True)
    if options.purge:
        engines.unmount(paths)
        progress.say(f"removing {paths.state} and {image_cache()}")
        shutil.rmtree(paths.state, ignore_errors=True)
        shutil.rmtree(image_cache(), ignore_errors=True)
    return 0


def starts(paths: Paths, _progress: Progress, options: argparse.Namespace) -> int:
    """Print a workspace's starts."""
    with Lab(paths.state) as lab:
        print(json.dumps(lab.starts(options.workspace), indent=2))
    return 0


def plugins(paths: Paths, _progress: Progress, options: argparse.Namespace) -> int:
    """Print what a workspace's runtime loaded."""
    with Lab(paths.state) as lab:
        print(json.dumps(lab.loaded(options.workspace), indent=2))
    return 0


def files(paths: Paths, _progress: Progress, options: argparse.Namespace) -> int:
    """Print what is in a workspace's config directory."""
    with Lab(paths.state) as lab:
        print(json.dumps({path: item._asdict() for path, item in lab.snapshot(options.workspace).items()}, indent=2))
    return 0


def show(paths: Paths, _progress: Progress, options: argparse.Namespace) -> int:
    """Print a file of a workspace; exit status 1 when it is not there."""
    with Lab(paths.state) as lab:
        content = lab.read_file(options.workspace, options.path)
    if content is None:
        print(f"lab: {options.workspace} has no {options.path}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(content)
    return 0


def reset(paths: Paths, _progress: Progress, options: argparse.Namespace) -> int:
    """Make a workspace fresh."""
    with Lab(paths.state) as lab:
        lab.reset(options.workspace)
    return 0


def write_fixtures(_paths: Paths, _progress: Progress, options: argparse.Namespace) -> int:
    """Write the synthetic plugins."""
    fixtures.write_plugins(pathlib.Path(options.directory))
    return 0


def _machines(engine: docker.DockerClient, paths: Paths, image_name: str, progress: Progress) -> None:
    """Make the engine hold the world: start what is there and stopped, make everything anew when something is missing or outdated."""
    wanted = worlds.build(paths, engines.docker_host(paths))
    wanted.data["image"] = image_name
    try:
        world = World.load(paths.state)
        current = all(world.data[key] == wanted.data[key] for key in ("docker_host", "image", "specification"))
    except (FileNotFoundError, KeyError):
        world, current = wanted, False
    present = machines.existing(engine, world)
    if current and set(machines.expected(world)) <= set(present):
        for instance in world.data["instances"]:
            if instance["host_container"]:
                machines.prepare_directories(world, instance["instance_id"])
        for name, should_run in machines.expected(world).items():
            if should_run and present[name] != "running":
                progress.say(f"starting {name}")
                engine.containers.get(name).start()
        return
    _stop_services(paths)
    machines.remove_all(engine, wanted)
    shutil.rmtree(paths.key_store, ignore_errors=True)
    paths.known_hosts.unlink(missing_ok=True)
    with progress.step("creating the workspaces and EC2 instances") as step:
        for workspace in wanted.data["workspaces"]:
            step.detail = workspace["name"]
            instance = wanted.instance_of(workspace)
            if instance:
                machines.create_instance(engine, wanted, instance, workspace)
            elif workspace["kind"] == "docker":
                machines.create_workspace(engine, wanted, workspace)
    wanted.write()


def _start_services(paths: Paths, progress: Progress) -> None:
    """Start the simulated services in a session of their own, and wait until they are ready."""
    if _service_runs(paths) and paths.service.exists():
        return
    _stop_services(paths)
    with progress.step("starting AWS, the tunnel gateway and the platform (simulated)"), open(paths.service_log, "wb") as log:
        tests = REPOSITORY / "tests"
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.service", "--state", str(paths.state)], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            cwd=tests, env=dict(os.environ, PYTHONPATH=str(tests)),
        )
        paths.service_pid.write_text(f"{process.pid}\n", encoding="utf-8")
        deadline = time.monotonic() + SERVICE_TIMEOUT
        while not paths.service.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                words = "\n".join(paths.service_log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
                raise LabError(f"the simulated services did not start; their last words ({paths.service_log}):\n{words}")
            time.sleep(0.1)


def _service_runs(paths: Paths) -> bool:
    pid = read_pid(paths.service_pid)
    return pid is not None and is_alive(pid, "lab.service")


def _stop_services(paths: Paths) -> None:
    pid = read_pid(paths.service_pid)
    if pid is not None:
        stop_process(pid, "lab.service", timeout=10)
    paths.service_pid.unlink(missing_ok=True)
    paths.service.unlink(missing_ok=True)


def _row(lab: Lab, workspace: dict[str, Any]) -> dict[str, Any]:
    """What status shows of one workspace."""
    instance = lab.world.instance_of(workspace)
    machine = instance["instance_id"] if instance else workspace["container"] or workspace["instance_id"]
    runtime = lab.runtime_container_name(workspace["name"])
    loaded = lab.loaded(workspace["name"]) if runtime else None
    return {
        "name": workspace["name"], "id": workspace["id"], "kind": workspace["kind"], "runtime": workspace["runtime"], "machine": machine,
        "state": lab.state(workspace["name"]) if runtime else None,
        "starts": len(lab.starts(workspace["name"])) if runtime else None,
        "plugins": [plugin["name"] for plugin in loaded["plugins"]] if loaded else [],
    }
