#!/usr/bin/python
# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of ``workspace_activity``, which is an action plugin: it runs on the controller alone."""
from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_activity
short_description: Ask the platform whether the agent of a workspace is at work
version_added: 0.1.0
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
description:
  - Asks the platform how many tasks the agent of a workspace is working on, so that a run can leave busy workspaces alone.
  - The agent reports the number every 30 seconds, so it can be that old.
  - It fails where the platform does not say a number, because not knowing is not idle.
options:
  workspace_id:
    description: The workspace's id on the platform.
    type: str
    required: true
extends_documentation_fragment:
  - molecule_ai.workspace.attributes
  - molecule_ai.workspace.platform
attributes:
  check_mode:
    support: full
    details:
      - It never changes anything.
  diff_mode:
    support: none
    details:
      - There is no content to compare.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
    description: Target OS/families that can be operated against.
seealso:
  - module: molecule_ai.workspace.workspace_restart
"""

EXAMPLES = r"""
- name: Ask what the agent is doing
  molecule_ai.workspace.workspace_activity:
    workspace_id: "{{ workspace_id }}"
    platform_url: https://acme.moleculesai.app
    platform_token: "{{ lookup('ansible.builtin.env', 'MOLECULE_API_TOKEN') }}"
    platform_org_id: "{{ lookup('ansible.builtin.env', 'MOLECULE_ORG_ID') }}"
  register: activity

- name: Go on only where it is idle
  ansible.builtin.meta: end_host
  when: activity.busy
"""

RETURN = r"""
busy:
  description: Whether the agent is working on something. In a status without an agent, such as V(paused), it is not, whatever it reported last.
  returned: success
  type: bool
active_tasks:
  description: How many tasks the agent reported last.
  returned: success
  type: int
  sample: 2
status:
  description: The workspace's status on the platform.
  returned: success
  type: str
  sample: online
"""
