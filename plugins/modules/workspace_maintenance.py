#!/usr/bin/python
# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of ``workspace_maintenance``, which is an action plugin: it runs on the controller alone."""
from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_maintenance
short_description: Reach the plugins of a workspace whose container does not stay up
version_added: 0.1.0
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
description:
  - Nothing can be executed in a container that has exited or that starts again and again, as a bad plugin may make it. This module starts a second,
    short-lived container of the same image with the same volumes, through which M(molecule_ai.workspace.molecule_plugin) reaches the plugins, and removes
    it again.
  - That container has no network, no labels and no environment of the workspace, runs no runtime, and removes itself after an hour in any case.
  - It is labelled with the run that has started it. What a run that was killed has left is removed by the next one on the same controller.
  - The role P(molecule_ai.workspace.plugins#role) uses it to roll plugins back. There is no need to call it elsewhere.
options:
  state:
    description:
      - V(present) starts the maintenance container, V(absent) removes it.
      - When another run maintains the same container, V(present) waits for it for up to a minute, and V(absent) leaves it alone with a warning.
    type: str
    choices: [present, absent]
    default: present
  container:
    description: The workspace's container. The default is the one in the fact C(workspace_backend).
    type: str
  config_dir:
    description: The config dir in that container. The default is the one in the fact C(workspace_backend).
    type: path
  after_failed_restart:
    description:
      - Say that the container was restarted by this very play and did not come back. Otherwise it must be seen to have failed. A container that somebody
        has stopped or paused is refused, since it would be started afterwards.
    type: bool
    default: false
extends_documentation_fragment:
  - molecule_ai.workspace.attributes
  - molecule_ai.workspace.docker_engine
attributes:
  check_mode:
    support: partial
    details:
      - O(state=present) fails in check mode, because nothing can be said about plugins that cannot be looked at.
      - O(state=absent) looks on the engine whether there is something to remove.
  diff_mode:
    support: none
    details:
      - There is no content to compare.
  idempotent:
    support: partial
    details:
      - O(state=absent) changes nothing when there is no such container. O(state=present) fails when there is one for longer than a minute, because
        another run is using it.
  platform:
    support: full
    platforms: posix
    description: Target OS/families that can be operated against.
seealso:
  - module: molecule_ai.workspace.molecule_plugin
  - module: molecule_ai.workspace.workspace_restart
"""

EXAMPLES = r"""
- name: Start a maintenance container for a container that has failed
  molecule_ai.workspace.workspace_maintenance:
    container: ws-7f3c2a10-000
    config_dir: /configs

- name: Remove it again
  molecule_ai.workspace.workspace_maintenance:
    container: ws-7f3c2a10-000
    config_dir: /configs
    state: absent
"""

RETURN = r"""
ansible_facts:
  description: The fact of M(molecule_ai.workspace.workspace_backend_facts), changed so that tasks reach the plugins.
  returned: success, outside check mode
  type: dict
  contains:
    workspace_backend:
      description:
        - As M(molecule_ai.workspace.workspace_backend_facts) describes it, with tier V(docker). C(connection) leads into the maintenance container, and
          after O(state=absent) into the workspace's own; C(restart) names the workspace's own in both cases.
        - C(maintenance) is the name of the maintenance container, or V(null) after O(state=absent).
      returned: always
      type: dict
"""
