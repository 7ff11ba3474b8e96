# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's documentation of plugins and roles as Markdown, for the pages that are made from it."""
from __future__ import annotations

import ast
import functools
import pathlib
import re
import typing

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
_MARKUP = re.compile(r"\b(?:M|O|V|C|E|RV|I|B)\(([^()]*)\)")
_PLUGIN = re.compile(r"\bP\(([^()#]*)#(\w+)\)")


def cell(text: typing.Union[str, typing.Sequence[str]]) -> str:
    """A description (one text, or its paragraphs) as one cell of a table."""
    joined = " ".join([text] if isinstance(text, str) else text)
    joined = _PLUGIN.sub(r"`\1` (\2)", joined)
    return " ".join(_MARKUP.sub(r"`\1`", joined).replace("|", "\\|").split())


@functools.cache
def options_of_role(role: str, entry_point: str = "main") -> dict[str, typing.Any]:
    """The options of a role's entry point by name, as its argument specification has them."""
    specs = yaml.safe_load((REPOSITORY / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return dict(specs["argument_specs"][entry_point].get("options", {}))


@functools.cache
def entry_points_of_role(role: str) -> list[str]:
    """The names of a role's entry points."""
    specs = yaml.safe_load((REPOSITORY / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return list(specs["argument_specs"])


@functools.cache
def options_of_plugin(path: str) -> dict[str, typing.Any]:
    """The options of a plugin by name, as the text DOCUMENTATION in its file has them (fragments left out)."""
    return dict(_text_of(path, "DOCUMENTATION")["options"])


@functools.cache
def options_of_fragment(name: str) -> dict[str, typing.Any]:
    """The options of a documentation fragment by name."""
    tree = ast.parse((REPOSITORY / "plugins" / "doc_fragments" / f"{name}.py").read_text(encoding="utf-8"))
    (text,) = (ast.literal_eval(node.value) for made in tree.body if isinstance(made, ast.ClassDef) for node in made.body if isinstance(node, ast.Assign))
    return dict(yaml.safe_load(text)["options"])


def options_of_connection() -> dict[str, typing.Any]:
    """The options of the eic connection that are not those of ssh."""
    return {**options_of_plugin("plugins/connection/eic.py"), **options_of_fragment("eic_aws")}


def examples_of_plugin(path: pathlib.Path) -> typing.Optional[str]:
    """The text EXAMPLES of a plugin's file; None where it has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    return None


def _text_of(path: str, name: str) -> dict[str, typing.Any]:
    for node in ast.parse((REPOSITORY / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return dict(yaml.safe_load(ast.literal_eval(node.value)))
    raise KeyError(f"{path} has no {name}")
