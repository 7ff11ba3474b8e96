# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the terms of the lookup -> ``registry_listing``."""
from __future__ import annotations

DOCUMENTATION = r"""
name: registry
short_description: List the plugins of a registry with their versions
version_added: 0.1.0
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
description:
  - Lists what can be installed from a registry, a directory on the controller that holds a directory for each plugin, for example for the choices of a survey.
  - A directory that cannot be installed from is left out with a warning.
options:
  _terms:
    description: The registries, each a path on the controller.
    type: list
    elements: path
    required: true
seealso:
  - module: molecule_ai.workspace.molecule_plugin
"""

EXAMPLES = r"""
- name: Show what can be installed
  ansible.builtin.debug:
    msg: "{{ item.name }} {{ item.version }}"
  loop: "{{ query('molecule_ai.workspace.registry', '/srv/plugins') }}"
  loop_control:
    label: "{{ item.name }}"

- name: Offer the names as the choices of a survey
  ansible.builtin.set_fact:
    choices: "{{ query('molecule_ai.workspace.registry', '/srv/plugins') | map(attribute='name') | list }}"
"""

RETURN = r"""
_raw:
  description: The plugins, by registry and name.
  type: list
  elements: dict
  contains:
    name:
      description: The plugin's name, which is that of its directory.
      type: str
      sample: ecc
    version:
      description: Its version, V(null) if it says none.
      type: str
      sample: 2.0.1
    runtimes:
      description: The runtimes that it is made for, empty for all.
      type: list
      elements: str
      sample: [claude_code]
"""

import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ..module_utils.errors import WorkspaceError
from ..plugin_utils import registry_listing, task_data

display = Display()


class LookupModule(LookupBase):
    """Lists registries."""

    def run(self, terms: t.Sequence[t.Any], variables: t.Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> list[dict[str, t.Any]]:
        """Return the plugins of all registries; every failure is one sentence."""
        self.set_options(var_options=variables, direct=kwargs)
        found: list[dict[str, t.Any]] = []
        for term in terms:
            try:
                listed, refused = registry_listing.plugins(task_data.plain(term))
            except WorkspaceError as error:
                raise AnsibleLookupError(str(error)) from None
            for sentence in refused:
                display.warning(f"left out of the registry's list: {sentence}")
            found += listed
        return found
