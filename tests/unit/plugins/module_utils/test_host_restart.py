# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart on an EC2 host, with stand-ins for the docker and systemctl programs that write down how they were called."""
from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import host_restart, plugin_request
from ansible_collections.molecule_ai.workspace.plugins.module_utils.container_readiness import Readiness
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError

DOCKER = """#!/bin/sh
cd "$(dirname "$0")" || exit 9
printf '%s\\n' "$*" >> calls
case "$2" in
  inspect) cat state.json ;;
  restart) [ -e refuse ] && { cat refuse >&2; exit 1; }; mv after.json state.json ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
cd "$(dirname "$0")" || exit 9
printf '%s\\n' "$*" >> calls
case "$1" in
  show) cat state.txt ;;
  restart) mv after.txt state.txt ;;
esac
"""


class Host:
    """The programs of one EC2 host and the receipts of its workspace."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.pending: dict[str, str] = {}
        self.problems: list[str] = []
        self.requests: list[dict[str, t.Any]] = []

    def install(self, program: str, text: str) -> None:
        path = self.directory / program
        path.write_text(text)
        path.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)

    @property
    def calls(self) -> list[str]:
        path = self.directory / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def handle(self, request: dict[str, t.Any]) -> dict[str, t.Any]:
        """Stands in for the receipts on the workspace."""
        self.requests.append(request)
        if request["operation"] == "pending_restarts":
            return {"restart_pending": dict(self.pending), "problems": self.problems}
        cleared = [name for name, install_id in request["install_ids"].items() if self.pending.get(name) == install_id]
        for name in cleared:
            del self.pending[name]
        return {"cleared": cleared, "restart_pending": sorted(self.pending)}

    def restart(self, **more: t.Any) -> dict[str, t.Any]:
        request = {"version": 1, "operation": "restart_host", "config_dir": "/configs", "container": "molecule-workspace", "unit": None}
        options = {"force": False, "dry_run": False, "wait_timeout": 5, "settle": 0, "stop_timeout": 10}
        programs = host_restart.Programs(f"{self.directory}:/usr/bin:/bin")
        return host_restart.restart({**request, **options, **more}, programs)


def inspected(started: str, **more: t.Any) -> str:
    return json.dumps([{"State": {"StartedAt": started, "Running": True, **more}}])


def service(invocation: str, active: str = "active", load: str = "loaded", status: int = 0) -> str:
    state = {"LoadState": load, "ActiveState": active, "SubState": "running", "ExecMainStatus": status}
    times = {"InvocationID": invocation, "ActiveEnterTimestamp": f"Fri {invocation}"}
    return "".join(f"{name}={value}\n" for name, value in {**state, **times}.items())


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    made.install("docker", DOCKER)
    made.install("systemctl", SYSTEMCTL)
    made.write("state.json", inspected("one"))
    made.write("after.json", inspected("two"))
    made.write("state.txt", service("one"))
    made.write("after.txt", service("two"))
    monkeypatch.setattr(plugin_request, "handle", made.handle)
    return made


def test_nothing_pending_runs_no_program(host: Host) -> None:
    result = host.restart()
    assert (result["needed"], result["restarted"], result["restart_pending"]) == (False, False, [])
    assert host.calls == []
    assert [request["operation"] for request in host.requests] == ["pending_restarts"]


def test_pending_restarts_once_and_confirms_what_was_read_before(host: Host) -> None:
    host.pending = {"ecc": "1", "browser-automation": "2"}
    result = host.restart()
    assert host.calls == ["container inspect molecule-workspace", "container restart -t 10 molecule-workspace", "container inspect molecule-workspace"]
    assert (result["needed"], result["restarted"], result["started_at"]) == (True, True, "two")
    assert sorted(result["cleared"]) == ["browser-automation", "ecc"]
    assert result["restart_pending"] == []
    assert host.requests[-1]["install_ids"] == {"ecc": "1", "browser-automation": "2"}


def test_an_install_during_the_restart_stays_pending(host: Host) -> None:
    host.pending = {"ecc": "1"}

    def wait(look: t.Any, readiness: Readiness, timeout: float) -> float:
        host.pending = {"ecc": "2"}
        return 0.0

    request = {"version": 1, "operation": "restart_host", "config_dir": "/configs", "container": "molecule-workspace"}
    options = {"force": False, "dry_run": False, "wait_timeout": 5, "settle": 0, "stop_timeout": 10}
    result = host_restart.restart({**request, **options}, host_restart.Programs(f"{host.directory}:/usr/bin:/bin"), wait)
    assert (result["cleared"], result["restart_pending"]) == ([], ["ecc"])


def test_force_restarts_without_anything_pending(host: Host) -> None:
    assert host.restart(force=True)["restarted"] is True
    assert [request["operation"] for request in host.requests] == ["pending_restarts"]


def test_a_receipt_that_cannot_be_read_is_reported(host: Host) -> None:
    host.problems = ["the receipt ecc.json is ignored: it is not JSON"]
    assert host.restart()["problems"] == host.problems


def test_dry_run_predicts_and_looks_only(host: Host) -> None:
    host.pending = {"ecc": "1"}
    result = host.restart(dry_run=True)
    assert (result["needed"], result["restarted"], result["restart_pending"]) == (True, False, ["ecc"])
    assert host.calls == ["container inspect molecule-workspace"]


def test_a_service_is_restarted_and_awaited(host: Host) -> None:
    host.pending = {"ecc": "1"}
    result = host.restart(container=None, unit="hermes.service")
    assert (result["restarted"], result["started_at"], result["cleared"]) == (True, "Fri two", ["ecc"])
    assert host.calls[1] == "restart --no-block --no-ask-password hermes.service"


@pytest.mark.parametrize(
    ("after", "parts"),
    [
        (inspected("two", Running=False, ExitCode=3), ["exit code 3", "docker logs molecule-workspace", "restart_pending"]),
        (inspected("two", Health={"Status": "unhealthy"}), ["unhealthy", "wait_timeout"]),
        ("not json", ["answer is not what"]),
        ("[]", ["answer is not what"]),
    ],
)
def test_a_container_that_does_not_come_back_stays_pending(host: Host, after: str, parts: list[str]) -> None:
    host.pending = {"ecc": "1"}
    host.write("after.json", after)
    with pytest.raises(WorkspaceError) as caught:
        host.restart(wait_timeout=0)
    assert all(part in str(caught.value) for part in parts)
    assert host.pending == {"ecc": "1"}


@pytest.mark.parametrize(
    ("after", "parts"),
    [
        (service("two", active="failed", status=203), ["hermes.service", "exit code 203", "journalctl -u hermes.service", "restart_pending"]),
        (service("two", active="activating"), ["activating", "wait_timeout"]),
        (service("one"), ["active (running)", "wait_timeout"]),
        (service("", load="not-found"), ["no usable systemd service hermes.service", "not-found"]),
    ],
)
def test_a_service_that_does_not_come_back_stays_pending(host: Host, after: str, parts: list[str]) -> None:
    host.pending = {"ecc": "1"}
    host.write("after.txt", after)
    with pytest.raises(WorkspaceError) as caught:
        host.restart(container=None, unit="hermes.service", wait_timeout=0)
    assert all(part in str(caught.value) for part in parts)
    assert host.pending == {"ecc": "1"}


def test_what_docker_says_is_quoted_in_one_line(host: Host) -> None:
    host.write("refuse", "warning\nError response from daemon:\tNo such container: molecule-workspace\x1b[0m\n\n")
    with pytest.raises(WorkspaceError) as caught:
        host.restart(force=True)
    message = str(caught.value)
    assert "cannot restart container molecule-workspace" in message and "exit code 1" in message and "No such container" in message
    assert message.isprintable()


def test_a_missing_program_is_named(host: Host) -> None:
    (host.directory / "docker").unlink()
    programs = host_restart.Programs(str(host.directory))
    with pytest.raises(WorkspaceError, match="there is no docker program on this host"):
        host_restart.ContainerTarget("molecule-workspace", programs).look()


def test_a_program_that_hangs_is_ended(host: Host) -> None:
    host.install("docker", "#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(WorkspaceError, match="did not answer within"):
        host_restart.Programs(f"{host.directory}:/usr/bin:/bin").run("docker", [], "ask", timeout=0.1)


@pytest.mark.parametrize("name", ["-rf", "a b", "$(id)", "a\n", "../x", ""])
@pytest.mark.parametrize("kind", ["container", "unit"])
def test_a_name_that_is_none_runs_no_program(host: Host, kind: str, name: str) -> None:
    host.pending = {"ecc": "1"}
    target = {"container": None, "unit": None, kind: name}
    with pytest.raises(InvalidInputError):
        host.restart(**target)
    assert host.calls == []


def test_the_service_must_stay_the_same_one_while_it_settles() -> None:
    readiness = host_restart.ServiceReadiness("hermes.service", "one", 2)
    seen = [("one", "active"), ("two", "active"), ("three", "activating"), ("three", "active"), ("three", "active"), ("three", "active")]
    answers = [
        readiness.observe({"InvocationID": invocation, "ActiveState": active, "ActiveEnterTimestamp": invocation}, float(second))
        for second, (invocation, active) in enumerate(seen)
    ]
    assert answers == [False] * 5 + [True]
    assert readiness.started_at == "three"
