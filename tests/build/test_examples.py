# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example of the documentation is what it says: it parses, and what it names is there."""
from __future__ import annotations

import configparser
import functools
import json
import pathlib
import re
import typing

import examples
import jsonschema
import pytest
import yaml
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import fleet_records
from markup import REPOSITORY
from programs import run_program

COLLECTIONS = {"ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".cache" / "collections")}
ALL = examples.examples()
BY_LANGUAGE: dict[str, list[examples.Example]] = {}
for each in ALL:
    BY_LANGUAGE.setdefault(each.language, []).append(each)


def of(language: str) -> typing.Any:
    return pytest.mark.parametrize("example", BY_LANGUAGE[language], ids=lambda example: example.where)


@functools.cache
def module_options(name: str) -> typing.Optional[dict[str, typing.Any]]:
    """The documented options of a module, with those of all fragments."""
    return _documented().get(name)


@functools.cache
def _documented() -> dict[str, typing.Any]:
    names = sorted({name for example in BY_LANGUAGE["yaml"] for document in yaml.safe_load_all(example.text) for name in examples.modules_of(document)})
    told = json.loads(run_program("ansible-doc", "--json", "--type", "module", *names, **COLLECTIONS).stdout)
    return {name: page["doc"].get("options", {}) for name, page in told.items() if "doc" in page}


@functools.cache
def long_options(program: str) -> set[str]:
    """The long options that one of Ansible's programs has, with those of its subcommands."""
    calls = [["collection", verb, "--help"] for verb in ("build", "download", "install", "list")] if program == "ansible-galaxy" else [["--help"]]
    return {option for call in calls for option in re.findall(r"--[a-z][a-z-]+", run_program(program, *call, **COLLECTIONS).stdout)}


def test_every_block_says_what_it_is() -> None:
    known = {"yaml", "console", "ini", "json", "text", "python"}
    assert not [f"{example.where}: {example.language!r}" for example in ALL if example.language not in known]


@of("yaml")
def test_yaml(example: examples.Example) -> None:
    problems = [problem for document in yaml.safe_load_all(example.text) for problem in examples.problems_of_yaml(document, module_options)]
    assert not problems, f"{example.where}: {problems}"


def test_playbooks_pass_the_syntax_check(tmp_path: pathlib.Path) -> None:
    (tmp_path / "plugins").mkdir()
    paths = []
    for number, example in enumerate(BY_LANGUAGE["yaml"]):
        for document in yaml.safe_load_all(example.text):
            if examples.is_play_for_syntax_check(document):
                path = tmp_path / f"{number:03}-{re.sub('[^a-z0-9]+', '-', example.where.lower())}.yml"
                path.write_text(examples.as_playbook(document), encoding="utf-8")
                paths.append(str(path))
    assert len(paths) >= 10
    run_program("ansible-playbook", "--syntax-check", "-i", "localhost,", *paths, **COLLECTIONS)


def test_inventories_are_read(tmp_path: pathlib.Path) -> None:
    found = [document for example in BY_LANGUAGE["yaml"] for document in yaml.safe_load_all(example.text) if examples.kind_of(document) == "inventory"]
    assert found
    for number, document in enumerate(found):
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        listed = json.loads(run_program("ansible-inventory", "-i", str(path), "--list", ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED="1", **COLLECTIONS).stdout)
        assert all(listed["_meta"]["hostvars"].values())


@of("console")
def test_commands(example: examples.Example) -> None:
    commands = examples.commands_of(example)
    assert commands, f"{example.where}: no line begins with a prompt, '$ ' or '# '"
    problems = [problem for command in commands for problem in examples.problems_of_command(command, long_options)]
    assert not problems, f"{example.where}: {problems}"


@of("ini")
def test_ini(example: examples.Example) -> None:
    parser = configparser.ConfigParser()
    parser.read_string(example.text)
    settings = json.loads(run_program("ansible-config", "list", "--format", "json", **COLLECTIONS).stdout)
    known = {(entry["section"], entry["key"]) for setting in settings.values() if isinstance(setting, dict) for entry in setting.get("ini", [])}
    assert not [(section, key) for section in parser.sections() for key in parser[section] if (section, key) not in known]


@of("json")
def test_json(example: examples.Example) -> None:
    content = json.loads(example.text)
    if "install_id" in content:
        schema = json.loads((REPOSITORY / "docs" / "receipt-1.schema.json").read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator(schema).validate(content)


def test_variables_that_pages_name_are_known() -> None:
    """Documented as an option, or, for what is found, returned and left as an artifact, at least in the code."""
    files = [path for room in ("plugins", "roles", "playbooks") for pattern in ("*.py", "*.yml") for path in (REPOSITORY / room).rglob(pattern)]
    code = "".join(path.read_text(encoding="utf-8") for path in files)
    named = {name: path.name for path in examples.markdown_files()
             for name in re.findall(r"`((?:workspace|plugins|restart|backend|awx_setup|ansible_eic)_\w+)`", path.read_text(encoding="utf-8"))}
    of_inventory = {f"workspace_{field}" for field in fleet_records.FIELDS}
    # an audit's counts are called by the states
    words = {name: name.removeprefix("workspace_audit_") for name in set(named) - examples.all_names() - of_inventory}
    assert not {name: named[name] for name, word in words.items() if not re.search(rf"\b({name}|{word})\b", code)}


WRONG = {
    "task option": "- molecule_ai.workspace.molecule_plugin:\n    plugns: []\n",
    "choice": "- molecule_ai.workspace.molecule_plugin:\n    config_dir: /configs\n    plugins: [{name: ecc, state: there}]\n",
    "module": "- molecule_ai.workspace.molecule_plugins:\n    plugins: []\n",
    "builtin's option": "- ansible.builtin.assert:\n    thatt: true\n",
    "role variable": "- hosts: all\n  roles: [{role: molecule_ai.workspace.plugins, vars: {workspace_plugin: []}}]\n",
    "role": "- hosts: all\n  roles: [molecule_ai.workspace.plugin]\n",
    "entry point": "- hosts: all\n  tasks: [{ansible.builtin.include_role: {name: molecule_ai.workspace.plugins, tasks_from: audits}}]\n",
    "variable's value": "restart_method: sometimes\n",
    "host variable": "workspaces: {hosts: {a: {workspace_ids: x}}}\n",
    "source": "plugin: molecule_ai.workspace.workspaces\nsources: [{type: ec3}]\n",
    "source option": "plugin: molecule_ai.workspace.workspaces\nsources: [{type: ec2, regionen: [x]}]\n",
    "inventory option": "plugin: molecule_ai.workspace.workspaces\nsources: [{type: ec2}]\nkached: true\n",
    "record": "- {workspace_id: e1c00000-bbbb-4aaa-8bbb-00000000000b, units: hermes.service}\n",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_seen(text: str) -> None:
    assert examples.problems_of_yaml(yaml.safe_load(text), module_options)


@pytest.mark.parametrize("command", [
    "ansible-playbook molecule_ai.workspace.instal", "ansible-playbook molecule_ai.workspace.install --chek",
    "ansible-playbook molecule_ai.workspace.install -e workspace_plugin_nam=ecc", "ansible-playbook molecule_ai.workspace.sync -e '{restart_method: x}'",
    "make tests", "tests/labcommand up", "echo 'open", "ansible-doc -t module molecule_ai.workspace.molecule_plugins",
])
def test_a_wrong_command_is_seen(command: str) -> None:
    assert examples.problems_of_command(command, long_options)
