# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking a fragment's entries out of ``settings.json``."""
from __future__ import annotations

import json
import typing

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import placed_settings
from ansible_collections.molecule_ai.workspace.plugins.module_utils.placed_settings import parse, remove_fragment, serialise

Json = typing.Dict[str, typing.Any]
DIRECTORIES = ["/configs/.claude"]


def command(name: str, **more: typing.Any) -> Json:
    return {"type": "command", "command": f"/configs/.claude/hooks/{name}", **more}


def variable(name: str, **more: typing.Any) -> Json:
    return {"type": "command", "command": "${CLAUDE_DIR}/hooks/" + name, **more}


def hooks(*handlers: Json, matcher: typing.Optional[str] = "Bash", **more: typing.Any) -> Json:
    group = {"hooks": list(handlers), **more} if matcher is None else {"matcher": matcher, "hooks": list(handlers), **more}
    return {"hooks": {"PreToolUse": [group]}}


FRAGMENT = hooks(variable("x.sh", timeout=5))


def remove(settings: Json, fragment: Json, others: typing.Optional[typing.Mapping[str, Json]] = None) -> placed_settings.Removal:
    before = json.dumps(settings)
    removal = remove_fragment(settings, fragment, DIRECTORIES, others or {})
    assert json.dumps(settings) == before
    return removal


@pytest.mark.parametrize(
    ("settings", "rest"),
    [
        ({}, {}),
        ({"model": "x"}, {"model": "x"}),
        (hooks(command("x.sh", timeout=5)), {}),
        (hooks(variable("x.sh", timeout=5)), {}),
        (hooks(command("x.sh", timeout=5), command("mine.sh")), hooks(command("mine.sh"))),
        ({"hooks": {"PreToolUse": hooks(command("x.sh", timeout=5))["hooks"]["PreToolUse"] * 3}}, {}),
        ({"hooks": {"PreToolUse": [], "Stop": []}}, {"hooks": {"Stop": []}}),
        ({"hooks": {}}, {}),
    ],
)
def test_handlers_go_with_what_they_leave_empty(settings: Json, rest: Json) -> None:
    removal = remove(settings, FRAGMENT)
    assert (removal.settings, removal.kept) == (rest, [])


def test_order_and_everything_else_stay() -> None:
    settings = {"z": 1, "hooks": {"Stop": [], "PreToolUse": ["odd", {"matcher": "x"}, *hooks(command("x.sh", timeout=5))["hooks"]["PreToolUse"]]}, "a": None}
    assert json.dumps(remove(settings, FRAGMENT).settings) == json.dumps({"z": 1, "hooks": {"Stop": [], "PreToolUse": ["odd", {"matcher": "x"}]}, "a": None})


@pytest.mark.parametrize("without", [hooks(variable("x.sh"), matcher=None), hooks(variable("x.sh"), matcher="")])
@pytest.mark.parametrize("placed", [hooks(command("x.sh"), matcher=None), hooks(command("x.sh"), matcher="")])
def test_no_matcher_is_an_empty_one(without: Json, placed: Json) -> None:
    assert remove(placed, without).settings == {}


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        (hooks(command("x.sh", timeout=6)), "hooks.PreToolUse[Bash] ${CLAUDE_DIR}/hooks/x.sh"),
        (hooks(command("x.sh", timeout=5), matcher="Bash|Write"), "hooks.PreToolUse[Bash|Write] ${CLAUDE_DIR}/hooks/x.sh"),
        ({"hooks": {"PreToolUse": {}}}, "hooks.PreToolUse"),
        ({"hooks": []}, "hooks"),
    ],
)
def test_what_was_changed_stays_and_is_told(settings: Json, label: str) -> None:
    removal = remove(settings, FRAGMENT)
    assert (removal.settings, removal.removed, removal.kept) == (settings, [], [(label, placed_settings.CHANGED)])


def test_a_group_to_which_something_was_added_stays_without_the_handler() -> None:
    removal = remove(hooks(command("x.sh", timeout=5), note="mine"), FRAGMENT)
    assert removal.settings == hooks(note="mine")
    assert removal.kept == [("hooks.PreToolUse[Bash]", "changed since it was placed: something was added to it")]


def test_one_command_for_two_matchers_is_two_entries() -> None:
    fragment = {"hooks": {"PreToolUse": [{"matcher": matcher, "hooks": [variable("x.sh")]} for matcher in ("Bash", "Write")]}}
    settings = {"hooks": {"PreToolUse": [{"matcher": matcher, "hooks": [command("x.sh")]} for matcher in ("Bash", "Write")]}}
    removal = remove(settings, fragment)
    assert (removal.settings, removal.kept, len(removal.removed)) == ({}, [], 2)


def test_handlers_without_a_command() -> None:
    """The platform's adapter gives them an empty one."""
    fragment = {"hooks": {"Stop": [{"hooks": [{"type": "prompt", "prompt": "a"}, {"type": "prompt", "prompt": "b"}]}]}}
    settings = {"hooks": {"Stop": [{"hooks": [{"type": "prompt", "prompt": text, "command": ""} for text in ("a", "mine", "b")]}]}}
    assert remove(settings, fragment).settings == {"hooks": {"Stop": [{"hooks": [{"type": "prompt", "prompt": "mine", "command": ""}]}]}}


@pytest.mark.parametrize(
    ("settings", "fragment", "rest", "kept"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, {"b": 2}, []),
        ({"a": 1}, {"a": True}, {"a": 1}, ["a"]),
        ({"a": 1.0}, {"a": 1}, {"a": 1.0}, ["a"]),
        ({"a": [1, 2]}, {"a": [1, 2]}, {}, []),
        ({"a": [1, 2, 3]}, {"a": [1, 2]}, {"a": [1, 2, 3]}, ["a"]),
        ({"a": {"b": {"c": 1}, "d": 2}}, {"a": {"b": {"c": 1}}}, {"a": {"d": 2}}, []),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 1}}}, {}, []),
        ({"a": {"b": {"c": 2}}}, {"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, ["a.b.c"]),
        ({"a": "x"}, {"a": {"b": 1}}, {"a": "x"}, ["a"]),
        ({"a": {"b": 1}}, {"a": "x"}, {"a": {"b": 1}}, ["a"]),
        ({"a": {}}, {"a": {}}, {}, []),
        ({"a": None}, {"a": None}, {}, []),
        ({"a": "/configs/.claude/x"}, {"a": "${CLAUDE_DIR}/x"}, {}, []),
        ({"a": "${CLAUDE_DIR}/x"}, {"a": "${CLAUDE_DIR}/x"}, {}, []),
    ],
)
def test_other_keys(settings: Json, fragment: Json, rest: Json, kept: typing.List[str]) -> None:
    removal = remove(settings, fragment)
    assert json.dumps(removal.settings) == json.dumps(rest)
    assert [label for label, _reason in removal.kept] == kept


def test_what_another_plugin_places_too_stays() -> None:
    settings = {**hooks(command("x.sh", timeout=5)), "a": {"b": 1, "c": 2}}
    fragment = {**FRAGMENT, "a": {"b": 1, "c": 2}}
    removal = remove(settings, fragment, {"q": {**FRAGMENT, "a": {"b": 1, "c": 3}}})
    assert removal.settings == {**hooks(command("x.sh", timeout=5)), "a": {"b": 1}}
    assert {reason for _label, reason in removal.kept} == {"also placed by plugin q"}


@pytest.mark.parametrize("swapped", [False, True])
def test_a_handler_that_two_plugins_placed_in_two_groups_stays_once(swapped: bool) -> None:
    ours, theirs = hooks(command("x.sh"), command("y.sh")), hooks(command("x.sh"))
    first, second = (theirs, ours) if swapped else (ours, theirs)
    settings = {"hooks": {"PreToolUse": first["hooks"]["PreToolUse"] + second["hooks"]["PreToolUse"]}}
    assert remove(settings, hooks(variable("x.sh"), variable("y.sh")), {"q": hooks(variable("x.sh"))}).settings == theirs


def test_a_handler_gives_way_to_the_one_that_an_earlier_plugin_has_for_its_command() -> None:
    """The adapter takes each command once; what is left in its place would keep the other plugin's handler out."""
    others = {"q": hooks(variable("x.sh", timeout=1)), "r": FRAGMENT}
    assert remove(hooks(command("x.sh", timeout=5)), FRAGMENT, others).settings == {}
    assert remove(hooks(command("x.sh", timeout=5)), FRAGMENT, {"r": FRAGMENT}).settings == hooks(command("x.sh", timeout=5))


@pytest.mark.parametrize("malformed", [[], {"A": {}}, {"A": [1]}, {"A": [{"hooks": 1}]}, {"A": [{"hooks": [1]}]}])
def test_malformed_fragments_remove_nothing(malformed: typing.Any) -> None:
    fragment = {"hooks": malformed}
    settings = {"hooks": {"A": [{"hooks": [1]}]}}
    assert remove(settings, fragment).settings == settings


@pytest.mark.parametrize("text", ["", "[]", "{", "1", "\ufeff{}", "[" * 100000])
def test_a_fragment_that_the_adapter_cannot_merge_is_none(text: str) -> None:
    assert placed_settings.parse_fragment(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{\n  "a": [\n    1\n  ],\n  "b": {}\n}\n',
        '{\n    "a": "ä"\n}',
        '{\n    "a": "\\u00e4"\n}\n',
        '{\n\t"a": {\n\t\t"b": 1\n\t}\n}\n\n',
        '{"a": 1, "b": [1, 2]}',
        '{"a":1,"b":[1,2]}\n',
        '{"a": "\\ud800"}',
        '{\r\n  "a": 1\r\n}\r\n'.replace("\r\n", "\n"),
        "{}",
    ],
)
def test_the_way_of_writing_stays(text: str) -> None:
    assert serialise(*parse(text)).decode("utf-8") == text


def test_a_lone_surrogate_among_raw_text_can_be_written() -> None:
    settings, style = parse('{"a": "ä\\ud800"}')
    assert parse(serialise(settings, style).decode("utf-8"))[0] == settings


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1, "a": 2}', '{"a": Infinity}', '{"a": 1e999}', "{'a': 1}"])
def test_what_cannot_be_written_again_without_loss_is_refused(text: str) -> None:
    with pytest.raises(placed_settings.UnusableSettings):
        parse(text)
