# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of the removal of placements, on random plugins, random content of a person, and every known way of joining texts."""
from __future__ import annotations

import json
import pathlib
import tempfile
import typing

from ansible_collections.molecule_ai.workspace.tests.unit.plugins.module_utils.adapter_simulation import JOININGS
from ansible_collections.molecule_ai.workspace.tests.unit.plugins.module_utils.placement_workspace import Files, Snapshot, Workspace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ["alpha", "beta", "gamma"]

# Few different pieces, so that plugins share names and contents, and texts hold what looks like structure.
PLAIN_LINES = ["", "", " ", "text", "text ", "# Heading", "\tü", "a\x0cb", "x\u2028y"]
HEADER_LINES = ["# Plugin: alpha / rule: one.md", "# Plugin: beta / fragment: extra.md"]


def contents(lines: typing.Sequence[str]) -> st.SearchStrategy[str]:
    """Contents of a file, made of these lines."""
    return st.lists(st.sampled_from(lines), max_size=6).map("\n".join) | st.just("same\n")


handler = st.fixed_dictionaries(
    {"type": st.just("command"), "command": st.sampled_from(["${CLAUDE_DIR}/hooks/a.sh", "${CLAUDE_DIR}/hooks/b.sh", "true"])},
    optional={"timeout": st.sampled_from([1, 2])},
)
group = st.fixed_dictionaries(
    {"hooks": st.lists(handler, min_size=1, max_size=2, unique_by=lambda item: item["command"])}, optional={"matcher": st.sampled_from(["Bash", "Write", ""])}
)
value = st.recursive(
    st.sampled_from([1, 2, True, None, "x", ["y"]]), lambda inner: st.dictionaries(st.sampled_from(["p", "q"]), inner, min_size=1, max_size=2), max_leaves=3
)
fragment = st.fixed_dictionaries(
    {},
    optional={
        "hooks": st.dictionaries(
            st.sampled_from(["PreToolUse", "Stop"]), st.lists(group, max_size=2, unique_by=lambda item: item.get("matcher", "")), max_size=2
        ),
        "env": st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(["1", "2"]), min_size=1, max_size=2),
        "deep": value,
    },
)


def plugins(content: st.SearchStrategy[str]) -> st.SearchStrategy[Files]:
    """Plugin trees whose files have such contents."""
    return st.builds(
        lambda *parts: {path: text for part in parts for path, text in part.items()},
        st.dictionaries(st.sampled_from(["rules/one.md", "rules/two.md", "rules/no.txt", "extra.md", "README.md"]), content, max_size=4),
        st.dictionaries(st.sampled_from(["skills/s/SKILL.md", "skills/s/f/x.py", "skills/t/SKILL.md", "skills/t/e/", "skills/stray.md"]), content, max_size=4),
        st.dictionaries(st.sampled_from(["hooks/a.sh", "hooks/b.sh", "hooks/sub/c.sh", "commands/go.md", "commands/no.txt"]), content, max_size=4),
        fragment.map(lambda item: {"settings-fragment.json": json.dumps(item)}) | st.just({}),
    )


plugin = plugins(contents(PLAIN_LINES + HEADER_LINES))
# The adapter looks for a header anywhere, so a plugin whose text quotes another one's header can keep that one's text out.
plain_plugin = plugins(contents(PLAIN_LINES))
# What a person has: no name and no key that the plugins above use, and texts that end with a line end.
users_text = st.lists(st.sampled_from(["mine", "", "- ü", "# Notes"]), max_size=4).map(lambda lines: "".join(item + "\n" for item in lines))
users_settings = st.fixed_dictionaries({"model": st.sampled_from(["a", "ü"])}, optional={"list": st.just([1, {"k": []}])})
users = st.fixed_dictionaries(
    {},
    optional={
        "CLAUDE.md": users_text.filter(str.strip),
        ".claude/settings.json": users_settings.map(lambda item: json.dumps(item, indent=2) + "\n"),
        ".claude/hooks/mine.sh": st.just("mine\n"),
        "skills/mine/SKILL.md": st.just("mine\n"),
    },
)
joinings = st.sampled_from(sorted(JOININGS))


def _workspace(directory: str, plugins: typing.Sequence[Files], files: Files) -> Workspace:
    workspace = Workspace(pathlib.Path(directory))
    for name, tree in zip(NAMES, plugins):
        workspace.plugin(name, tree)
    for path, text in files.items():
        target = workspace.config / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode("utf-8"))
    return workspace


def _files(snapshot: Snapshot) -> Snapshot:
    """Only the files; an empty directory of the runtime's may be there or not."""
    return {path: entry for path, entry in snapshot.items() if entry[0] != "directory"}


def _comparable(snapshot: Snapshot) -> typing.Dict[str, typing.Any]:
    """The files, without an order in the settings: which plugin came first may change it."""
    found: typing.Dict[str, typing.Any] = {path: entry[2] for path, entry in _files(snapshot).items()}
    if ".claude/settings.json" in found:
        found[".claude/settings.json"] = _unordered(json.loads(found[".claude/settings.json"]))
    return found


def _unordered(item: typing.Any) -> typing.Any:
    if isinstance(item, dict):
        return {key: _unordered(child) for key, child in item.items()}
    if isinstance(item, list):
        return sorted((_unordered(child) for child in item), key=lambda child: json.dumps(child, sort_keys=True))
    return item


@SETTINGS
@given(plugin, users, joinings, st.booleans())
def test_removal_restores_what_was_there_before(tree: Files, files: Files, joining: str, deduplicate: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        workspace = _workspace(directory, [tree], files)
        before = workspace.snapshot()
        for _start in range(2):
            workspace.load("alpha", joining=joining, deduplicate=deduplicate)
        result = workspace.remove("alpha")
        assert result["kept"] == []
        assert _files(workspace.snapshot()) == _files(before)
        assert workspace.remove("alpha") == {"removed": [], "kept": []}


@SETTINGS
@given(st.lists(plain_plugin, min_size=2, max_size=3), users, joinings)
def test_after_the_next_start_it_is_as_if_the_plugin_had_never_been(trees: typing.List[Files], files: Files, joining: str) -> None:
    """Several plugins that share names and contents: removing one and starting again equals starting without it."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        workspace, never = _workspace(first, trees, files), _workspace(second, trees, files)
        others = NAMES[1:len(trees)]
        workspace.load("alpha", *others, joining=joining)
        never.load(*others, joining=joining)
        workspace.remove("alpha", others=others)
        workspace.load(*others, joining=joining)
        assert _comparable(workspace.snapshot()) == _comparable(never.snapshot())


@SETTINGS
@given(plugin, users_text, users_text, joinings)
def test_text_before_and_after_stays(tree: Files, before: str, after: str, joining: str) -> None:
    """Every line of a person stays, in its order; at most blank lines between the two texts differ."""
    with tempfile.TemporaryDirectory() as directory:
        workspace = _workspace(directory, [tree], {"CLAUDE.md": before} if before.strip() else {})
        workspace.load("alpha", joining=joining)
        memory = workspace.config / "CLAUDE.md"
        with memory.open("ab") as file:
            file.write(after.encode("utf-8"))
        assert workspace.remove("alpha")["kept"] == []
        rest = memory.read_bytes().decode("utf-8") if memory.exists() else ""
        lines = [text for text in ((before if before.strip() else "") + after).split("\n") if text]
        assert [text for text in rest.split("\n") if text.strip()] == lines
        assert not before.strip() or rest.startswith(before.rstrip("\n"))


@SETTINGS
@given(plugin, st.data(), joinings)
def test_what_a_person_changed_stays_and_is_reported(tree: Files, data: st.DataObject, joining: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        workspace = _workspace(directory, [tree], {})
        workspace.load("alpha", joining=joining)
        copies = sorted(path for path, entry in workspace.snapshot().items() if entry[0] == "file" and not path.endswith(("CLAUDE.md", "settings.json")))
        changed = data.draw(st.lists(st.sampled_from(copies), unique=True)) if copies else []
        for path in changed:
            with (workspace.config / path).open("ab") as file:
                file.write(b"edited")
        edited = {path: entry for path, entry in workspace.snapshot().items() if path in changed}
        result = workspace.remove("alpha")
        assert _files(workspace.snapshot()) == edited
        assert sorted(entry["path"] for entry in result["kept"]) == sorted(changed)
        assert workspace.remove("alpha") == {"removed": [], "kept": result["kept"]}
