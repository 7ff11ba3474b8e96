# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What molecule_plugin documents is what it accepts.

The lint for modules does not compare the two where an action plugin of the same name validates the options.
"""
from __future__ import annotations

import ast
import pathlib

import pytest
from ansible_collections.molecule_ai.workspace.plugins.doc_fragments import platform
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_options

yaml = pytest.importorskip("yaml")
MODULE = pathlib.Path(plugin_options.__file__).parents[1] / "modules" / "molecule_plugin.py"


def documentation():
    for node in ast.parse(MODULE.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "DOCUMENTATION":
            shared = yaml.safe_load(platform.ModuleDocFragment.DOCUMENTATION)["options"]
            return {**shared, **yaml.safe_load(ast.literal_eval(node.value))["options"]}
    raise AssertionError("no DOCUMENTATION")


def specified(documented):
    """The argument spec that the documentation of options amounts to."""
    return {
        name: {
            key: specified(value) if key == "suboptions" else value
            for key, value in option.items()
            if key in ("type", "elements", "choices", "default", "required", "suboptions")
        }
        for name, option in documented.items()
    }


def accepted(spec):
    """The argument spec in the documentation's words."""
    found = {}
    for name, option in spec.items():
        found[name] = {key: value for key, value in option.items() if key not in ("options", "required_if", "no_log", "fallback")}
        if "options" in option:
            found[name]["suboptions"] = accepted(option["options"])
    return found


def test_options_are_documented_as_they_are_accepted():
    assert specified(documentation()) == accepted({**plugin_options.ARGUMENT_SPEC, "_request": {"type": "dict"}})


def test_every_option_says_what_it_is():
    assert [name for name, option in documentation().items() if not option.get("description")] == []
