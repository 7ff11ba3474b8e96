# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The entries that the runtime's standard adapter merges into ``.claude/settings.json``, found again and taken out.

A plugin's ``settings-fragment.json`` brings hook handlers (per event a list of ``{"matcher", "hooks": [handler]}``), in whose commands
``${CLAUDE_DIR}`` becomes the runtime's own directory, and other keys, which are merged only where they are missing.
"""
from __future__ import annotations

import copy
import json
import re
from typing import Any, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .placement_report import CHANGED

_VARIABLE = "${CLAUDE_DIR}"
_ABSENT = object()
_MAX_DIGITS = 4300


class UnusableSettings(Exception):
    """The file is not settings that can be rewritten without loss; ``str(error)`` is the reason for the report."""


class Style(NamedTuple):
    """How a JSON file is written, so that it can be written the same way again."""

    indent: Optional[Any]
    separators: Tuple[str, str]
    ensure_ascii: bool
    ending: str


class Removal(NamedTuple):
    """The settings without the fragment's entries, the labels of what went and of what stays (label, reason)."""

    settings: Dict[str, Any]
    removed: List[str]
    kept: List[Tuple[str, str]]
    noted: Set[Any]


def parse(text: str) -> Tuple[Dict[str, Any], Style]:
    """Return the settings and how they are written. Raises :class:`UnusableSettings` when writing them again would lose something."""
    try:
        settings = json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_constant, parse_float=_exact_float, parse_int=_short_int)
    except (ValueError, RecursionError) as error:
        raise UnusableSettings(f"is not JSON that can be rewritten safely ({error})") from error
    if not isinstance(settings, dict):
        raise UnusableSettings("does not hold a JSON object")
    return settings, _style(text, settings)


def serialise(settings: Mapping[str, Any], style: Style) -> bytes:
    """Return the file's bytes for ``settings``."""
    text = json.dumps(settings, indent=style.indent, separators=style.separators, ensure_ascii=style.ensure_ascii) + style.ending
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # an escaped lone surrogate, which only the escaped form can hold
        return serialise(settings, style._replace(ensure_ascii=True))


def parse_fragment(text: str) -> Optional[Dict[str, Any]]:
    """Return a plugin's fragment, or None for one that the adapter could not have merged either."""
    try:
        fragment = json.loads(text, parse_int=_short_int)
    except (ValueError, RecursionError):
        return None
    return fragment if isinstance(fragment, dict) else None


def remove_fragment(
    settings: Dict[str, Any], fragment: Mapping[str, Any], claude_directories: Sequence[str], other_fragments: Mapping[str, Mapping[str, Any]]
) -> Removal:
    """Take what the adapter merged of ``fragment`` out of a copy of ``settings``.

    ``claude_directories`` are the values that ``${CLAUDE_DIR}`` may have; ``other_fragments`` (plugin name -> fragment) are those of the
    other live plugins: what one of them places identically stays. Emptied lists and objects that the fragment names go too.
    """
    removal = Removal(copy.deepcopy(settings), [], [], set())
    _remove_handlers(removal, fragment, claude_directories, other_fragments)
    others = {name: {key: value for key, value in other.items() if key != "hooks"} for name, other in other_fragments.items()}
    own = {key: value for key, value in fragment.items() if key != "hooks"}
    _remove_values(removal, removal.settings, own, [], claude_directories, others)
    return removal


class _Placed(NamedTuple):
    """What one fragment's handlers look like once merged, per (event, matcher)."""

    labels: Dict[Tuple[str, str], Dict[str, str]]  # canonical handler -> its command as the fragment has it
    rests: Dict[Tuple[str, str], Set[str]]  # canonical rest of a handler group
    commands: Dict[Tuple[str, str], Dict[str, str]]  # merged command -> the command as the fragment has it
    groups: Dict[Tuple[str, str], Dict[str, FrozenSet[str]]]  # canonical group -> its merged commands
    command_sets: Dict[Tuple[str, str], Set[FrozenSet[str]]]  # the merged commands of each group
    of_event: Dict[str, Dict[str, str]]  # merged command -> the command as the fragment has it, whatever the matcher


def _remove_handlers(
    removal: Removal, fragment: Mapping[str, Any], claude_directories: Sequence[str], other_fragments: Mapping[str, Mapping[str, Any]]
) -> None:
    hooks = removal.settings.get("hooks", _ABSENT)
    if hooks is _ABSENT:
        return
    own = _placed(fragment, claude_directories)
    if not isinstance(hooks, dict):
        if own.labels:
            removal.kept.append(("hooks", CHANGED))
        return
    others = {name: _placed(other, claude_directories) for name, other in other_fragments.items()}
    for event in sorted({event for event, _matcher_text in own.rests}):
        if isinstance(hooks.get(event), list):
            hooks[event] = [group for group in hooks[event] if not _is_emptied(removal, event, group, own, others)]
            if not hooks[event]:
                del hooks[event]
        elif event in hooks:
            removal.kept.append((f"hooks.{event}", CHANGED))
    for event in [event for event in _mapping(fragment.get("hooks")) if hooks.get(event) == []]:
        del hooks[event]
    if not hooks:  # the adapter makes this object even for a fragment without hooks
        del removal.settings["hooks"]


def _is_emptied(removal: Removal, event: str, group: Any, own: _Placed, others: Mapping[str, _Placed]) -> bool:
    """Take the plugin's handlers out of one of an event's groups; tell whether the group itself is to go.

    A group that is just as we placed it goes whole: the adapter merges whole groups, so what stayed of ours would keep another plugin's out.
    """
    if not _is_group(group):
        return False
    place = (event, _matcher(group))
    if _canonical(group) in own.groups.get(place, {}):
        owner = _owner_of_group(group, place, own, others)
        for handler in group["hooks"]:
            label = _handler_label(place, own.labels[place][_canonical(handler)])
            if owner is None:
                _note(removal, removal.removed, label)
            else:
                _note(removal, removal.kept, (label, f"also placed by plugin {owner}"))
        return owner is None
    if any(_canonical(group) in other.groups.get(place, {}) for other in others.values()):
        return False
    return _is_emptied_by_handler(removal, place, group, own, others)


def _is_emptied_by_handler(removal: Removal, place: Tuple[str, str], group: Dict[str, Any], own: _Placed, others: Mapping[str, _Placed]) -> bool:
    """Take single handlers out of a group that is not as we placed it, because somebody or a merge changed it."""
    remaining = []
    for handler in group["hooks"]:
        form = _canonical(handler)
        owner = _owner(form, handler, place, others)
        command = own.labels.get(place, {}).get(form)
        if command is not None and owner is None:
            _note(removal, removal.removed, _handler_label(place, command))
            continue
        if command is not None:
            _note(removal, removal.kept, (_handler_label(place, command), f"also placed by plugin {owner}"))
        remaining.append(handler)
        if command is None and owner is None and _command(handler):
            # The person may have moved it to another matcher.
            commands = own.of_event.get(place[0], {})
            if _command(handler) in commands:
                _note(removal, removal.kept, (_handler_label(place, commands[_command(handler)]), CHANGED))
    was_empty = not group["hooks"]
    group["hooks"] = remaining
    if remaining:
        return False
    if _canonical(_rest(group)) in own.rests.get(place, ()):
        return True
    if not was_empty:
        _note(removal, removal.kept, (f"hooks.{place[0]}[{place[1]}]", f"{CHANGED}: something was added to it"))
    return False


def _owner(form: str, handler: Any, place: Tuple[str, str], others: Mapping[str, _Placed]) -> Optional[str]:
    """Return the other plugin that places exactly this handler: the adapter takes each command once, from the first plugin that has it."""
    for name in sorted(others):
        if form in others[name].labels.get(place, {}):
            return name
        if _command(handler) in others[name].commands.get(place, {}):
            return None
    return None


def _owner_of_group(group: Mapping[str, Any], place: Tuple[str, str], own: _Placed, others: Mapping[str, _Placed]) -> Optional[str]:
    """Return the other plugin that places exactly this group: the adapter takes one group per set of commands, from the first that has it."""
    form = _canonical(group)
    commands = own.groups[place][form]
    for name in sorted(others):
        if form in others[name].groups.get(place, {}):
            return name
        if commands in others[name].command_sets.get(place, ()):
            return None
    return None


def _placed(fragment: Mapping[str, Any], claude_directories: Sequence[str]) -> _Placed:
    placed = _Placed({}, {}, {}, {}, {}, {})
    for event, groups in _mapping(fragment.get("hooks")).items():
        for group in groups if isinstance(groups, list) else ():
            if not _is_group(group) or not all(isinstance(handler, dict) for handler in group["hooks"]):
                continue
            place = (event, _matcher(group))
            placed.rests.setdefault(place, set()).add(_canonical(_rest(group)))
            for variant in _group_variants(group, claude_directories):
                commands = frozenset(_command(handler) for handler in variant["hooks"])
                placed.groups.setdefault(place, {})[_canonical(variant)] = commands
                placed.command_sets.setdefault(place, set()).add(commands)
                for handler, merged in zip(group["hooks"], variant["hooks"]):
                    label = str(handler.get("command") or handler.get("type") or "handler")
                    placed.labels.setdefault(place, {}).setdefault(_canonical(merged), label)
                    if _command(merged):
                        placed.commands.setdefault(place, {}).setdefault(_command(merged), label)
                        placed.of_event.setdefault(event, {}).setdefault(_command(merged), label)
    return placed


def _group_variants(group: Dict[str, Any], claude_directories: Sequence[str]) -> List[Dict[str, Any]]:
    """Return the forms in which releases of the adapter may have written a handler group."""
    variants = [group] + [_substituted(group, directory) for directory in claude_directories]
    for directory in claude_directories:
        # The platform's adapter substitutes in "command" only, and gives a handler without one an empty one.
        handlers = [dict(handler, command=_substituted(handler.get("command", ""), directory)) for handler in group["hooks"]]
        variants.append(dict(group, hooks=handlers))
    return variants


def _remove_values(
    removal: Removal,
    settings: Dict[str, Any],
    fragment: Mapping[str, Any],
    path: List[str],
    claude_directories: Sequence[str],
    others: Mapping[str, Mapping[str, Any]],
) -> None:
    for key, value in fragment.items():
        current = settings.get(key, _ABSENT)
        if current is _ABSENT:
            continue
        label = ".".join(path + [key])
        claims = {name: others[name][key] for name in sorted(others) if key in others[name]}
        first = next(iter(claims), "")  # plugins are loaded by name, and of two values the first one is merged
        if isinstance(value, dict) and isinstance(current, dict):
            nested_claims = {name: claim for name, claim in claims.items() if isinstance(claim, dict) and isinstance(claims[first], dict)}
            _remove_values(removal, current, value, path + [key], claude_directories, nested_claims)
            if not current and not nested_claims:
                del settings[key]
                if not value:
                    removal.removed.append(label)
            continue
        expected = _value_variants(value, claude_directories)
        if _canonical(current) not in expected:
            removal.kept.append((label, CHANGED))
            continue
        if claims and set(_value_variants(claims[first], claude_directories)) & set(expected):
            removal.kept.append((label, f"also placed by plugin {first}"))
        else:
            del settings[key]
            removal.removed.append(label)


def _value_variants(value: Any, claude_directories: Sequence[str]) -> List[str]:
    return _distinct([value] + [_substituted(value, directory) for directory in claude_directories])


def _substituted(value: Any, directory: str) -> Any:
    """Return ``value`` with the variable replaced in every string of it."""
    if isinstance(value, str):
        return value.replace(_VARIABLE, directory)
    if isinstance(value, list):
        return [_substituted(item, directory) for item in value]
    if isinstance(value, dict):
        return {key: _substituted(item, directory) for key, item in value.items()}
    return value


def _handler_label(place: Tuple[str, str], command: str) -> str:
    return f"hooks.{place[0]}[{place[1]}] {command}"


def _note(removal: Removal, items: List[Any], item: Any) -> None:
    """Add ``item`` once: the same entry may occur several times."""
    if item not in removal.noted:
        removal.noted.add(item)
        items.append(item)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_group(group: Any) -> bool:
    return isinstance(group, dict) and isinstance(group.get("hooks"), list)


def _command(handler: Any) -> str:
    """Return a handler's command; empty when it has none."""
    command = handler.get("command") if isinstance(handler, dict) else None
    return command if isinstance(command, str) else ""


def _matcher(group: Mapping[str, Any]) -> str:
    """Return the group's matcher; none and an empty one mean the same (every tool)."""
    matcher = group.get("matcher")
    return matcher if isinstance(matcher, str) else ""


def _rest(group: Mapping[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in group.items() if key not in ("hooks", "matcher")}


def _canonical(value: Any) -> str:
    """Return a text that is equal exactly for equal JSON values (Python takes 1, 1.0 and true for equal)."""
    return json.dumps(value, sort_keys=True)


def _distinct(values: Sequence[Any]) -> List[str]:
    return list(dict.fromkeys(_canonical(value) for value in values))


def _style(text: str, settings: Dict[str, Any]) -> Style:
    """Return the style that reproduces ``text`` exactly, or else one with its indentation."""
    body = text.strip(" \t\r\n")
    ending = text[text.rindex(body[-1]) + 1:]
    ensure_ascii = all(ord(character) < 128 for character in text)
    found = re.search(r"\n([ \t]+)\S", text)
    indent: Any = found.group(1) if found else None
    candidates = [Style(indent, (",", ": "), ensure_ascii, ending)]
    if indent is None:
        candidates = [Style(None, separators, ensure_ascii, ending) for separators in ((", ", ": "), (",", ":"))]
    for style in [style._replace(ensure_ascii=escaped) for style in candidates for escaped in (ensure_ascii, not ensure_ascii)]:
        if json.dumps(settings, indent=style.indent, separators=style.separators, ensure_ascii=style.ensure_ascii) == body:
            return style
    return candidates[0] if indent is not None or "\n" not in body else Style(2, (",", ": "), ensure_ascii, ending)


def _without_repetition(pairs: Sequence[Tuple[str, Any]]) -> Dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _short_int(text: str) -> int:
    """Older versions of Python take minutes to hours for a number of megabytes; the limit is that of newer ones."""
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number has more than {_MAX_DIGITS} digits")
    return int(text)


def _exact_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {text} is too large")
    return value
