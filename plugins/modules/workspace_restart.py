#!/usr/bin/python
# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of ``workspace_restart``, and the half of it that runs on the workspace."""

from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_restart
short_description: Restart a workspace's runtime so that it loads its plugins
version_added: 0.1.0
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
description:
  - Restarts the runtime of one Molecule AI workspace once, if M(molecule_ai.workspace.molecule_plugin) installed or removed plugins since its last
    restart, and waits until the runtime is really back.
  - What waits for a restart is recorded on the workspace itself (C(restart_pending) in the receipt of each plugin) and cleared only after the runtime
    came back. A run that dies between install and restart is therefore completed by the next one.
  - A container is back when it has started anew and its health check says C(healthy). Without a health check it must have been up for O(settle) seconds
    without another start.
options:
  method:
    description:
      - How to restart.
    type: str
    default: in_place
    choices:
      in_place:
        - Restart what is there. In the V(docker) tier this is C(docker restart) by the Docker engine's API, from the controller. The engine is the one
          in the fact C(workspace_backend), unless the task has options for an engine itself.
        - In the V(eic) tier the container O(container) or the systemd service O(unit) is restarted on the EC2 host.
      platform:
        - Let the platform restart the workspace through its API.
        - On the SaaS this B(terminates the EC2 instance and provisions a new one), so plugins on its disk are gone. In self-hosted installations the
          container is re-created with its volumes.
        - Afterwards the workspace must be looked up again, its plugins verified, and RV(awaiting_confirmation) handed to O(confirm). The role
          P(molecule_ai.workspace.restart#role) does all that.
      none:
        - Restart nothing, only say what waits for a restart, and clear what O(confirm) names.
  force:
    description:
      - Restart even when no plugin waits for it.
    type: bool
    default: false
  confirm:
    description:
      - Names of plugins with the ids of their installs, as RV(awaiting_confirmation) gave them, that a restart made by other means has covered.
      - A plugin that was installed again since then keeps waiting. Only with O(method=none).
    type: dict
  workspace_id:
    description:
      - The workspace's id on the platform. Needed for O(method=platform).
      - Default is the one in the fact C(workspace_backend), which M(molecule_ai.workspace.workspace_backend_facts) sets.
    type: str
  tier:
    description:
      - How the workspace is reached. Default is the one in the fact C(workspace_backend).
      - V(external) and V(none) cannot be restarted from here and fail with the reason.
    type: str
    choices: [docker, eic, external, none]
  container:
    description:
      - The runtime's container on the Docker engine or on the EC2 host. Default is the one in the fact C(workspace_backend).
      - Mutually exclusive with O(unit).
    type: str
  unit:
    description:
      - The systemd service of a runtime that runs on the bare EC2 host, for example V(hermes.service). Default is the one in the fact
        C(workspace_backend).
      - Mutually exclusive with O(container).
    type: str
  config_dir:
    description:
      - The config dir as seen from where Ansible connects to. Default is the one in the fact C(workspace_backend).
    type: path
  wait_timeout:
    description:
      - How many seconds the runtime may take to come back.
      - Default is V(120), and V(900) for O(method=platform).
    type: int
  settle:
    description:
      - How many seconds a runtime without a health check must have been up without another start.
    type: float
    default: 2.0
  stop_timeout:
    description:
      - How many seconds the container may take to stop before it is killed. A systemd service has its own limit.
    type: int
    default: 10
  _request:
    description:
      - The order that this module's action plugin sends to the workspace. Not for tasks, where it is refused.
    type: dict
extends_documentation_fragment:
  - molecule_ai.workspace.attributes
  - molecule_ai.workspace.platform
  - molecule_ai.workspace.docker_engine
attributes:
  check_mode:
    support: full
    details:
      - It also fails where a restart could not be made.
  diff_mode:
    support: none
    details:
      - A restart has no content to compare.
  idempotent:
    support: partial
    details:
      - Restarts only what waits for a restart, so a second run does nothing. With O(force=true) it restarts each time.
  platform:
    support: full
    platforms: posix
    description: Target OS/families that can be operated against.
seealso:
  - module: molecule_ai.workspace.molecule_plugin
  - module: molecule_ai.workspace.workspace_backend_facts
"""

EXAMPLES = r"""
- name: Find out how each workspace is reached
  molecule_ai.workspace.workspace_backend_facts:
    workspace_id: "{{ workspace_id }}"

- name: Restart the runtime if plugins wait for it
  molecule_ai.workspace.workspace_restart:

- name: Restart a slow runtime in any case
  molecule_ai.workspace.workspace_restart:
    force: true
    wait_timeout: 300

- name: Restart a container on a Docker engine, without any lookup before
  molecule_ai.workspace.workspace_restart:
    tier: docker
    docker_host: unix:///var/run/docker.sock
    container: ws-7f3c2a10-000
    config_dir: /configs

- name: Restart a runtime that is a systemd service of its EC2 host
  molecule_ai.workspace.workspace_restart:
    unit: hermes.service

- name: Say which plugins wait for a restart
  molecule_ai.workspace.workspace_restart:
    method: none
  register: waiting

- name: Let the platform restart the workspace
  molecule_ai.workspace.workspace_restart:
    method: platform
    platform_url: https://acme.moleculesai.app
    platform_token: "{{ vault_platform_token }}"
    platform_org_id: 3d0c1f8e-0000-4000-8000-000000000001
"""

RETURN = r"""
method:
  description: How it was restarted, as O(method) asked.
  returned: success
  type: str
  sample: in_place
restarted:
  description: Whether a restart was made and the runtime came back. Always V(false) in check mode.
  returned: success
  type: bool
  sample: true
waited:
  description: Seconds from the end of the restart to the runtime's being ready.
  returned: success
  type: float
  sample: 2.5
started_at:
  description: When the runtime started, as Docker or systemd writes it. Null when nothing was restarted in place.
  returned: success
  type: str
  sample: "2026-05-01T11:00:00.123456789Z"
cleared:
  description: Plugins that waited for this restart and no longer do.
  returned: success
  type: list
  elements: str
  sample: [browser-automation, ecc]
restart_pending:
  description: Plugins that wait for a restart, in check mode and before confirmation the same as before the task.
  returned: success
  type: list
  elements: str
  sample: []
awaiting_confirmation:
  description: After O(method=platform), the plugins with the ids of their installs that the restart covered, to be handed to O(confirm).
  returned: success
  type: dict
  sample: {}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import host_restart
from ..module_utils.request_module import REQUEST_ARGUMENT_SPEC, answer
from ..module_utils.restart_options import ARGUMENT_SPEC, MUTUALLY_EXCLUSIVE


def main() -> None:
    """Carry the action plugin's request out and give its result back."""
    module = AnsibleModule(argument_spec=dict(ARGUMENT_SPEC, **REQUEST_ARGUMENT_SPEC), mutually_exclusive=MUTUALLY_EXCLUSIVE, supports_check_mode=True)
    answer(module, host_restart.changes, host_restart.handle)


if __name__ == "__main__":
    main()
