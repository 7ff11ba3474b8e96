# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation: what they are, and what is wrong with them as far as that can be told without running them.

A block of YAML is one of: plays, tasks, an inventory, a configuration of the inventory plugin, records of its file source, a rule's action, variables.
Which one is seen from its content, and what fits none of them is wrong.
"""
from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import pathlib
import re
import shlex
import subprocess
import textwrap
import typing

import jsonschema
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import fleet_file
from markup import REPOSITORY, entry_points_of_role, examples_of_plugin, options_of_plugin, options_of_role
from variables_page import all_names

OURS = "molecule_ai.workspace."
INVENTORY_PLUGIN = "plugins/inventory/workspaces.py"
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_OUR_VARIABLE = re.compile(r"(workspace|plugins|restart|backend|awx_setup|ansible_eic)_\w+")
_NO_MODULE = frozenset((
    "name", "when", "register", "loop", "loop_control", "vars", "tags", "become", "become_user", "delegate_to", "run_once", "check_mode", "diff", "until",
    "retries", "delay", "no_log", "changed_when", "failed_when", "ignore_errors", "ignore_unreachable", "environment", "notify", "module_defaults", "args",
    "timeout", "throttle", "any_errors_fatal", "connection",
))
_BLOCKS = ("block", "rescue", "always")


@dataclasses.dataclass(frozen=True)
class Example:
    """One block of code. ``where``: file and line for messages."""

    where: str
    language: str
    text: str


def markdown_files() -> list[pathlib.Path]:
    """All pages of the repository."""
    patterns = ("*.md", "docs/**/*.md", "roles/*/README.md", "tests/**/*.md")
    return sorted({path for pattern in patterns for path in REPOSITORY.glob(pattern) if "output" not in path.parts})


def examples() -> list[Example]:
    """All blocks of code on the pages, and the examples of all plugins."""
    found = []
    for path in markdown_files():
        text = path.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Example(f"{path.relative_to(REPOSITORY)}:{line}", match[2], textwrap.dedent(match[3])))
    for path in sorted((REPOSITORY / "plugins").glob("*/*.py")):
        text = examples_of_plugin(path) if path.parent.name not in ("module_utils", "plugin_utils", "doc_fragments") else None
        if text:
            found.append(Example(f"{path.relative_to(REPOSITORY)} EXAMPLES", "yaml", text))
    return found


# YAML


def kind_of(document: typing.Any) -> str:
    """Which kind of YAML file this is; empty when it is none that this collection's users write."""
    if isinstance(document, list) and document and all(isinstance(each, dict) for each in document):
        if all("hosts" in each or "ansible.builtin.import_playbook" in each for each in document):
            return "plays"
        if all("workspace_id" in each for each in document):
            return "records"
        return "tasks"
    if isinstance(document, dict):
        if str(document.get("plugin", "")).startswith(OURS):
            return "configuration"
        if set(document) == {"action"}:
            return "rule"
        if document and all(isinstance(each, dict) and set(each) <= {"hosts", "children", "vars"} for each in document.values()):
            return "inventory"
        return "variables"
    return ""


def problems_of_yaml(document: typing.Any, module_options: typing.Callable[[str], typing.Optional[dict[str, typing.Any]]]) -> list[str]:
    """What is wrong with a document of YAML. ``module_options``: a module's documented options by name, None for an unknown module."""
    kind = kind_of(document)
    if kind == "plays":
        return [problem for play in document for problem in _problems_of_play(play, module_options)]
    if kind == "tasks":
        return [problem for task in document for problem in _problems_of_task(task, module_options)]
    if kind == "configuration":
        # the options of core's fragments (constructed, cache) are not in this file
        documented = options_of_plugin(INVENTORY_PLUGIN)
        own = {name: value for name, value in document.items() if name in documented}
        return _problems(own, documented) + [f"unknown option {name}" for name in set(document) - set(documented) - _fragments_of_inventory()]
    if kind == "inventory":
        return [problem for variables in _variables_of_inventory(document) for problem in problems_of_variables(variables)]
    if kind == "records":
        return _problems_of_records(document)
    if kind == "variables":
        known = all_names() | _fragments_of_inventory() | _connection_variables()
        unknown = [f"unknown variable {name}" for name in document if name not in known]
        return unknown + problems_of_variables(document)
    if kind == "rule":
        return _problems_of_rule(document)
    return [f"neither plays, tasks, an inventory, a configuration nor variables: {document!r}"]


def problems_of_variables(variables: typing.Mapping[str, typing.Any]) -> list[str]:
    """What is wrong with host, group or extra variables: names that look like ours and are not, and wrong values of role options."""
    problems = [f"unknown variable {name}" for name in variables if _OUR_VARIABLE.fullmatch(name) and name not in all_names()]
    specifications: dict[str, typing.Any] = {}
    for role in ("awx_setup", "backend", "plugins", "restart"):
        for entry_point in reversed(entry_points_of_role(role)):
            specifications.update(options_of_role(role, entry_point))
    known = {name: {**specifications[name], "required": False} for name in variables if name in specifications}
    return problems + _problems({name: value for name, value in variables.items() if name in known}, known)


def is_play_for_syntax_check(document: typing.Any) -> bool:
    """Whether ansible-playbook can check the document's syntax."""
    return kind_of(document) in ("plays", "tasks")


def as_playbook(document: typing.Any) -> str:
    """The text of a playbook: the plays, or a play with the tasks."""
    plays = document if kind_of(document) == "plays" else [{"name": "Tasks", "hosts": "all", "gather_facts": False, "tasks": document}]
    return yaml.safe_dump(plays, sort_keys=False)


def modules_of(document: typing.Any) -> set[str]:
    """The names of all modules that plays or tasks use."""
    if kind_of(document) == "plays":
        return {name for play in document for task in _tasks_of(play) for name in _module_of(task)}
    return {name for task in document for each in _flat(task) for name in _module_of(each)} if kind_of(document) == "tasks" else set()


def _problems_of_play(play: typing.Mapping[str, typing.Any], module_options: typing.Any) -> list[str]:
    problems = problems_of_variables(play.get("vars", {}))
    for role in play.get("roles", []):
        name = role if isinstance(role, str) else role["role"]
        if name.startswith(OURS) and not (REPOSITORY / "roles" / name[len(OURS):]).is_dir():
            problems.append(f"unknown role {name}")
        if isinstance(role, dict):
            problems += problems_of_variables(role.get("vars", {}))
    return problems + [problem for task in _tasks_of(play) for problem in _problems_of_task(task, module_options)]


def _tasks_of(play: typing.Mapping[str, typing.Any]) -> list[dict[str, typing.Any]]:
    return [each for section in ("pre_tasks", "tasks", "post_tasks", "handlers") for task in play.get(section, []) for each in _flat(task)]


def _flat(task: dict[str, typing.Any]) -> list[dict[str, typing.Any]]:
    if any(section in task for section in _BLOCKS):
        return [each for section in _BLOCKS for inner in task.get(section, []) for each in _flat(inner)]
    return [task]


def _module_of(task: typing.Mapping[str, typing.Any]) -> list[str]:
    return [name for name in task if name not in _NO_MODULE and not name.startswith("with_")]


def _problems_of_task(task: dict[str, typing.Any], module_options: typing.Any) -> list[str]:
    problems = []
    for each in _flat(task):
        problems += problems_of_variables(each.get("vars", {}))
        names = _module_of(each)
        if len(names) != 1:
            problems.append(f"not one module, but {names}: {each}")
            continue
        options, given = module_options(names[0]), each[names[0]]
        if options is None:
            problems.append(f"unknown module {names[0]}")
        elif isinstance(given, dict) and not names[0].endswith(("set_fact", "import_tasks", "include_tasks")):
            problems += [f"{names[0]}: {problem}" for problem in _problems(given, options)]
        if names[0].endswith(("include_role", "import_role")) and given["name"].startswith(OURS):
            tasks = REPOSITORY / "roles" / given["name"][len(OURS):] / "tasks" / f"{given.get('tasks_from', 'main')}.yml"
            problems += [] if tasks.is_file() else [f"no tasks {tasks.relative_to(REPOSITORY)}"]
    return problems


def _problems(given: typing.Mapping[str, typing.Any], documented: typing.Mapping[str, typing.Any]) -> list[str]:
    """What Ansible's own check of arguments says. Templates may become anything."""
    specification = _specification(documented)
    for name, value in given.items():
        if _is_template(value) and name in specification:
            specification[name] = {"type": "raw"}
    return list(ArgumentSpecValidator(specification).validate(dict(given)).error_messages)


def _specification(documented: typing.Mapping[str, typing.Any]) -> dict[str, typing.Any]:
    kept = ("type", "elements", "required", "aliases")
    specification: dict[str, typing.Any] = {}
    for name, option in documented.items():
        specification[name] = {key: option[key] for key in kept if key in option}
        specification[name]["type"] = {"string": "str", "integer": "int", "boolean": "bool"}.get(option.get("type", "str"), option.get("type", "str"))
        if "choices" in option:
            specification[name]["choices"] = list(option["choices"])
        inner = option.get("suboptions") or (option.get("options") if option.get("type") in ("dict", "list") else None)
        if inner:
            specification[name]["options"] = _specification(inner)
    return specification


def _is_template(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_is_template, value.values()))
    if isinstance(value, list):
        return any(map(_is_template, value))
    return isinstance(value, str) and "{{" in value


def _variables_of_inventory(groups: typing.Mapping[str, typing.Any]) -> typing.Iterator[dict[str, typing.Any]]:
    for group in groups.values():
        yield group.get("vars") or {}
        for host in (group.get("hosts") or {}).values():
            yield host or {}
        yield from _variables_of_inventory({name: each or {} for name, each in (group.get("children") or {}).items()})


def _fragments_of_inventory() -> set[str]:
    return {"compose", "groups", "keyed_groups", "strict", "leading_separator", "cache", "cache_plugin", "cache_connection", "cache_timeout", "cache_prefix",
            "use_extra_vars", "use_vars_plugins"}


def _problems_of_records(records: list[dict[str, typing.Any]]) -> list[str]:
    try:
        fleet_file.read(records, "the example")
    except InvalidInputError as error:
        return [str(error)]
    return []


def _problems_of_rule(rule: dict[str, typing.Any]) -> list[str]:
    """What ansible-rulebook's own schema says of a rule's action, in place of those in our rulebook."""
    rulebook = yaml.safe_load((REPOSITORY / "extensions" / "eda" / "rulebooks" / "self_healing.yml").read_text(encoding="utf-8"))
    rulebook[0]["rules"][0]["action"] = rule["action"]
    schema = json.loads((importlib.resources.files("ansible_rulebook") / "schema" / "ruleset_schema.json").read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(rulebook)]


@functools.cache
def _connection_variables() -> frozenset[str]:
    """The connection variables that the role backend sets, and so those that a user may set instead."""
    text = (REPOSITORY / "roles" / "backend" / "tasks" / "reach.yml").read_text(encoding="utf-8")
    return frozenset(re.findall(r"^    (ansible_\w+):", text, re.MULTILINE))


# shell


def commands_of(example: Example) -> list[str]:
    """The commands of a session on a terminal: what comes after a prompt, continued lines included."""
    commands: list[str] = []
    continued = False
    for line in example.text.splitlines():
        if continued:
            commands[-1] += "\n" + line
        elif line.startswith(("$ ", "# ")):
            commands.append(line[2:])
        else:
            continue
        continued = line.endswith("\\")
    return commands


def problems_of_command(command: str, long_options: typing.Callable[[str], set[str]]) -> list[str]:
    """What is wrong with a command. ``long_options``: those of one of Ansible's programs."""
    checked = subprocess.run(["bash", "-n"], input=command + "\n", capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        return [checked.stderr.strip()]
    problems = []
    for words in _simple_commands(command):
        program = words[0]
        if program in ("ansible-playbook", "ansible-inventory", "ansible-doc", "ansible-galaxy"):
            problems += [f"{program} has no {word}" for word in words[1:] if word.startswith("--") and word.split("=")[0] not in long_options(program)]
            problems += _problems_of_names(words)
        if program == "make":
            targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
            known = {target for line in targets for target in line.split()}
            problems += [f"make has no target {word}" for word in words[1:] if re.fullmatch("[a-z-]+", word) and word not in known]
        if program.startswith(("tests/", ".cache/venv/bin/")) and not (REPOSITORY / program).exists():
            problems.append(f"there is no {program}")
        problems += _problems_of_extra_variables(words)
    return problems


def _simple_commands(command: str) -> list[list[str]]:
    """The words of each simple command, without variables that are set before it."""
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    simple: list[list[str]] = [[]]
    for word in lexer:
        if word in ("|", "||", "&&", ";", "&"):
            simple.append([])
        elif simple[-1] or not re.fullmatch(r"\w+=.*", word):
            simple[-1].append(word)
    return [words for words in simple if words]


def _problems_of_names(words: list[str]) -> list[str]:
    problems = []
    for word in words[1:]:
        if not word.startswith(OURS):
            continue
        name = word[len(OURS):]
        if words[0] == "ansible-playbook":
            paths = [REPOSITORY / "playbooks" / f"{name}.yml"]
        else:
            paths = [REPOSITORY / "roles" / name, *(REPOSITORY / "plugins").glob(f"*/{name}.py")]
        if not any(path.exists() for path in paths):
            problems.append(f"there is no {word}")
    return problems


def _problems_of_extra_variables(words: list[str]) -> list[str]:
    given = [words[position + 1] for position, word in enumerate(words[:-1]) if word in ("-e", "--extra-vars")]
    given += [word.split("=", 1)[1] for word in words if word.startswith("--extra-vars=")]
    problems = []
    for text in given:
        if text.startswith("{"):
            problems += problems_of_variables(yaml.safe_load(text))
        elif not text.startswith("@"):
            names = [assignment.split("=", 1)[0] for assignment in shlex.split(text)]
            problems += [f"unknown variable {name}" for name in names if _OUR_VARIABLE.fullmatch(name) and name not in all_names()]
    return problems
