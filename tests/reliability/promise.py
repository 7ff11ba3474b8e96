# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The promise, as seen from outside: what may lie in a config dir after a death, and what must lie there after the next run."""
from __future__ import annotations

import json
import os
import pathlib
import re
import stat
import typing

from scenarios import Scenario, Workspace

State = typing.Dict[str, typing.Any]

STATE = ".molecule_ai"
# Ours, empty or with the name of the last holder: they hold no state.
_WITHOUT_CONTENT = frozenset(f"{STATE}/{name}" for name in ("lock", "receipts", "staging", "previous", "modified", "installed"))
_PLUGINS = ("0o40755", 1000, 1000, None)
_CHANGING_FIELDS = ("install_id", "installed_at")


class Broken(AssertionError):
    """The promise does not hold."""


class References(typing.NamedTuple):
    """What an uninterrupted run goes through: the whole states before it, between two plugins and after it, and the last one's open restarts."""

    states: list[State]
    restart_pending: list[str]

    @property
    def before(self) -> State:
        """The state that an apply starts from."""
        return self.states[0]

    @property
    def after(self) -> State:
        """The state that an apply ends with."""
        return self.states[-1]


def observe(config: pathlib.Path) -> State:
    """Everything below the config dir, by path: type and mode, owner and group, content. What differs from run to run by design is left out."""
    found: State = {}
    _observe(str(config), "", found)
    if found.pop("plugins", _PLUGINS) != _PLUGINS:
        raise Broken("the directory plugins does not belong to the agent")
    for path in _WITHOUT_CONTENT:
        found.pop(path, None)
    if not any(path.startswith(STATE + "/") for path in found):
        found.pop(STATE, None)
    return found


def _observe(directory: str, prefix: str, found: State) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = prefix + entry.name
            status = entry.stat(follow_symlinks=False)
            content: typing.Any = None
            if stat.S_ISREG(status.st_mode):
                with open(entry.path, "rb") as file:
                    content = file.read()
                if path.startswith(STATE + "/staging/") and path.endswith(("/receipt.json", "/previous.json")) or path.startswith(f"{STATE}/receipts/"):
                    content = _receipt_without_changing_fields(content)
            found[path] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
            if stat.S_ISDIR(status.st_mode):
                _observe(entry.path, path + "/", found)


def _receipt_without_changing_fields(content: bytes) -> typing.Any:
    try:
        return json.dumps(json.loads(content, object_hook=_without_changing_fields), sort_keys=True)
    except ValueError:
        return content


def _without_changing_fields(fields: dict[str, typing.Any]) -> dict[str, typing.Any]:
    return {key: value for key, value in fields.items() if key not in _CHANGING_FIELDS}


def identity(state: State) -> typing.Any:
    """Equal for states that are equal but for the random names of temporary files."""
    return frozenset((re.sub(r"(placements-|\.deep-)[0-9a-f]{16}", r"\1", path), value) for path, value in state.items())


def references(workspace: Workspace, scenario: Scenario, label: str) -> References:
    """Work out the references, from the state that was saved as ``label``; each plugin is changed by an uninterrupted run of its own."""
    workspace.restore(label)
    states = [observe(workspace.config)]
    for name, tree in scenario.wanted.items():
        workspace.apply({name: tree})
        states.append(observe(workspace.config))
    return References(states, workspace.handle("inspect", plugins=[])["restart_pending"])


def check_instant(workspace: Workspace, scenario: Scenario, expected: References, may_be_missing: bool) -> None:
    """Right after a death, before anybody repairs anything: whole versions, whole texts, receipts that can be read."""
    now = observe(workspace.config)
    for name in {*scenario.wanted, *scenario.before}:
        tree = _below(now, f"plugins/{name}")
        allowed = [_below(state, f"plugins/{name}") for state in expected.states]
        if tree not in allowed and not (may_be_missing and not tree):
            raise Broken(f"live plugin {name} is no whole version: {sorted(tree)}")
    foreign = {path for path in now if path.startswith("plugins/")} - {path for state in expected.states for path in state}
    if foreign:
        raise Broken(f"there is something in plugins that no version has: {sorted(foreign)}")
    for path in ("CLAUDE.md", ".claude/settings.json"):
        if now.get(path) not in [state.get(path) for state in expected.states]:
            raise Broken(f"{path} is neither the old nor the new one: {now.get(path)}")
    problems = workspace.handle("pending_restarts")["problems"]
    if problems:
        raise Broken(f"receipts cannot be read: {problems}")


def check_recovery(workspace: Workspace, scenario: Scenario, expected: References) -> None:
    """The next runs: a recovery alone, which ends in a whole state and says which; the same request again; and once more, with nothing to do."""
    interrupted = workspace.inspect({})["interrupted"]
    recovered = workspace.apply({})["recovered"]
    state = observe(workspace.config)
    if state not in expected.states:
        raise Broken(f"recovery ended in a mixture: {nearest_difference(state, expected.states)}; it said {recovered}")
    check_sentences(interrupted, recovered, expected, state)
    again = workspace.inspect(scenario.wanted)
    if again["interrupted"]:
        raise Broken(f"recovery left {again['interrupted']} in staging")
    result = workspace.apply(scenario.wanted)
    kept = {name: plugin["kept"] for name, plugin in result["plugins"].items() if plugin["kept"]}
    if kept:
        raise Broken(f"something of the runtime was taken for a person's: {kept}")
    final = observe(workspace.config)
    if final != expected.after:
        raise Broken(f"the next run did not converge: {nearest_difference(final, [expected.after])}")
    if result["restart_pending"] != expected.restart_pending:
        raise Broken(f"restarts are due for {result['restart_pending']} instead of {expected.restart_pending}")
    last = workspace.apply_request(scenario.wanted)
    if last["plugins"]:
        raise Broken(f"a second run would change {last['plugins']}")


def check_sentences(interrupted: list[str], recovered: list[str], expected: References, state: State) -> None:
    """Each interrupted change is told, with its plugin, and what is told of it is true."""
    plugins = [name for name in interrupted if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name)]
    if len(recovered) != len(plugins) or any(f"'{name}'" not in sentence for name, sentence in zip(plugins, recovered)):
        raise Broken(f"{interrupted} were interrupted, but recovery said {recovered}")
    for name, sentence in zip(plugins, recovered):
        path = f"plugins/{name}"
        changed = _below(state, path) != _below(expected.before, path)
        if sentence.startswith("finished") and not changed:
            raise Broken(f"'{sentence}', but the old version is live")
        if sentence.startswith("discarded") and changed:
            raise Broken(f"'{sentence}', but the new version is live")


def placed(state: State) -> State:
    """What the runtime and people have put into the config dir; of ``CLAUDE.md`` the lines that are not blank, whatever their order."""
    found = {path: value[3] for path, value in state.items() if not path.startswith((STATE, "plugins/"))}
    found["CLAUDE.md"] = sorted(line for line in found["CLAUDE.md"].decode("utf-8").split("\n") if line.strip())
    return found


def nearest_difference(state: State, allowed: list[State]) -> str:
    """How a state differs from the one that is most like it."""
    differences = [
        [f"{path}: {state.get(path)} instead of {other.get(path)}" for path in sorted({*state, *other}) if state.get(path) != other.get(path)]
        for other in allowed
    ]
    return "; ".join(min(differences, key=len))


def _below(state: State, root: str) -> State:
    return {path: value for path, value in state.items() if path == root or path.startswith(root + "/")}
