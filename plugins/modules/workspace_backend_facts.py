#!/usr/bin/python
# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: workspace_backend_facts
short_description: Find the backend of Molecule AI workspaces and how to reach them
version_added: 0.1.0
description:
  - Tells for one workspace, or for a list of them, on which tier it lives, with the reason, its config dir, its restart target, and the connection
    variables that reach it.
  - It looks at what it is given, at a Docker engine and at the tags of EC2 instances, in the platform's own order. First, an external-like
    runtime is tier V(external), even with an instance id. Second, a running container of the workspace is tier V(docker). Third, an EC2 instance is
    tier V(eic) (EC2 Instance Connect). Otherwise the tier is V(none).
  - It never guesses. A lookup that failed ends as tier V(none) with RV(ansible_facts.workspace_backend.lookup=failed), it is not taken for
    "nothing there". A runtime that could not be looked up gets no default config dir.
  - The cost does not grow with the number of workspaces. The Docker engine is listed once, EC2 is asked once by tag and once by instance id,
    200 workspaces a query.
options:
  workspace_id:
    description:
      - The workspace's id on the platform. Exactly one of O(workspace_id) and O(workspaces) is needed.
    type: str
  workspaces:
    description:
      - Several workspaces in one call. The answer is then RV(ansible_facts.workspace_backends).
    type: list
    elements: dict
    suboptions:
      workspace_id:
        description: The workspace's id on the platform.
        type: str
        required: true
      runtime:
        description: See O(runtime).
        type: str
      instance_id:
        description: See O(instance_id).
        type: str
      container:
        description: See O(container).
        type: str
      config_dir:
        description: See O(config_dir).
        type: str
      unit:
        description: See O(unit).
        type: str
      runtime_container:
        description: See O(runtime_container).
        type: str
        default: molecule-workspace
  runtime:
    description:
      - The workspace's runtime, for example V(claude-code), V(hermes) or V(langgraph). It decides the config dir on an EC2 host.
      - If it is not given, the EC2 tag C(Runtime) says it.
    type: str
  instance_id:
    description:
      - The workspace's EC2 instance, C(i-) and 8 to 17 hexadecimal digits. If it is not given, it is found by the EC2 tags
        C(WorkspaceID) and C(Role=workspace).
      - A container's name, C(mol-ws-…), which newer releases of the platform store as instance id, is understood as O(container), and never
        becomes tier V(eic).
    type: str
  container:
    description:
      - The workspace's container on the Docker engine. The platform's own names, C(ws-) and the first 12 characters of the id, or the whole
        id, are found without it. It wins when several of these containers are running.
    type: str
  config_dir:
    description:
      - The workspace's config dir, as the container (tier V(docker)) or the EC2 host (tier V(eic)) sees it.
      - If it is not given, it is V(/configs) in a container and on an EC2 host what O(runtime_config_dirs) says.
    type: str
  unit:
    description:
      - The systemd service to restart on an EC2 host whose runtime is not in a container, for example V(hermes.service).
    type: str
  runtime_container:
    description:
      - The runtime's container on an EC2 host, to be restarted there.
    type: str
    default: molecule-workspace
  lookups:
    description:
      - What is looked at besides the given values. A fleet without a Docker engine sets this to V([ec2]), one without EC2 to V([docker]).
      - What is named here must answer. If the Docker engine cannot be reached, no workspace that it could hold gets another tier.
    type: list
    elements: str
    choices: [docker, ec2]
    default: [docker, ec2]
  external_runtimes:
    description:
      - Runtimes that run elsewhere and pull their plugins themselves. Compared without case and surrounding blanks.
    type: list
    elements: str
    default: [external]
  runtime_config_dirs:
    description:
      - The config dir on an EC2 host by runtime. Compared without case and surrounding blanks. Runtimes that it does not name have V(/configs).
      - The default is the map of the platform's release of May 2026. A map given here replaces it as a whole.
    type: dict
    default:
      hermes: /home/ubuntu/.hermes
      langgraph: /opt/configs
  from_variables:
    description:
      - Take each option that is not given from the host's variable of the role P(molecule_ai.workspace.backend#role) for it, for example O(region) from
        C(workspace_region) and O(profile) from C(workspace_aws_profile).
    type: bool
    default: false
  known:
    description:
      - What the inventory P(molecule_ai.workspace.workspaces#inventory) has found, its host variable C(workspace_backend). It is returned instead of a lookup
        unless it did not find the workspace, is older than O(max_age), is what a cache of facts has kept of an earlier run, or a task has found something else
        since.
    type: dict
  max_age:
    description:
      - How old O(known) may be, in seconds. V(0) looks in any case.
    type: int
    default: 3600
  os_user:
    description:
      - The login user of EC2 hosts; it needs C(sudo) without a password.
    type: str
    default: ubuntu
extends_documentation_fragment:
  - molecule_ai.workspace.attributes
  - molecule_ai.workspace.docker_engine
  - molecule_ai.workspace.aws
attributes:
  action:
    support: full
    details:
      - All of it runs on the controller, with the controller's Docker and AWS credentials. No connection to the workspace is made.
  check_mode:
    support: full
    details:
      - It only reads, and does the same in check mode.
  diff_mode:
    support: none
    details:
      - It changes nothing, so there is no difference to show.
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
  idempotent:
    support: full
    details:
      - It never changes anything.
notes:
  - Facts should be read as C(ansible_facts.workspace_backend). Its injection as a variable of its own is deprecated by ansible-core 2.20.
  - Credentials given as O(access_key), O(secret_key) and O(session_token) serve this lookup only and never enter the facts. A connection of tier
    V(eic) takes its own from a profile, its variables or the environment. Profile, role, region, O(endpoint_url) and O(aws_ca_bundle) are handed on to it.
seealso:
  - module: molecule_ai.workspace.molecule_plugin
  - module: molecule_ai.workspace.workspace_restart
  - plugin: molecule_ai.workspace.workspaces
    plugin_type: inventory
  - plugin: molecule_ai.workspace.eic
    plugin_type: connection
  - plugin: community.docker.docker_api
    plugin_type: connection
  - module: amazon.aws.ec2_instance_info
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
"""

EXAMPLES = r"""
- name: Find one workspace on the local Docker engine or on EC2
  molecule_ai.workspace.workspace_backend_facts:
    workspace_id: 3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b

- name: Show where it is
  ansible.builtin.debug:
    msg: "{{ ansible_facts.workspace_backend.tier }}: {{ ansible_facts.workspace_backend.reason }}"

- name: Find the workspaces of an EC2 fleet, with one query
  molecule_ai.workspace.workspace_backend_facts:
    workspaces:
      - workspace_id: 3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b
      - workspace_id: 7d1e4a90-52c3-4f6b-a8e7-0b9c8d7e6f5a
        instance_id: i-0123456789abcdef0
        runtime: hermes
        unit: hermes.service
    lookups: [ec2]
    region: us-east-2
    profile: fleet

- name: Stop if any of them could not be looked up
  ansible.builtin.assert:
    that: ansible_facts.workspace_backends.values() | selectattr('lookup', 'eq', 'failed') | length == 0
    fail_msg: "{{ ansible_facts.workspace_backends.values() | selectattr('lookup', 'eq', 'failed') | map(attribute='reason') | join('; ') }}"

- name: Find one workspace on a remote Docker engine with TLS
  molecule_ai.workspace.workspace_backend_facts:
    workspace_id: 3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b
    lookups: [docker]
    docker_host: tcp://docker.example.com:2376
    validate_certs: true
    ca_path: /etc/docker-client/ca.pem
    client_cert: /etc/docker-client/cert.pem
    client_key: /etc/docker-client/key.pem
"""

RETURN = r"""
ansible_facts:
  description: Facts about the workspace, or the workspaces.
  returned: success
  type: dict
  contains:
    workspace_backend:
      description: The backend of the workspace.
      returned: when O(workspace_id) is given
      type: dict
      contains:
        tier:
          description:
            - Where the workspace lives, V(docker), V(eic), V(external) or V(none).
          returned: always
          type: str
          sample: eic
        lookup:
          description:
            - V(found) if the tier is known.
            - V(not_found) if everything that was asked answered, and nothing is there that could be reached.
            - V(failed) if something could not be looked at, or what was found is ambiguous or contradicts itself, so that nothing is known.
          returned: always
          type: str
          sample: found
        reason:
          description: One sentence about what led to the tier.
          returned: always
          type: str
          sample: its EC2 instance is running
        workspace_id:
          description: The workspace's id.
          returned: always
          type: str
          sample: 3f2b8c1e-9a47-4d0e-8b15-6c7d8e9f0a1b
        runtime:
          description: The runtime, as given or as tagged; empty if nothing says it.
          returned: always
          type: str
          sample: hermes
        container:
          description: The workspace's container, on tier V(docker), else V(null).
          returned: always
          type: str
          sample: ws-3f2b8c1e-9a4
        instance_id:
          description: The workspace's EC2 instance, on tier V(eic), else V(null).
          returned: always
          type: str
          sample: i-0123456789abcdef0
        config_dir:
          description: The config dir in the container or on the EC2 host; V(null) for tiers V(external) and V(none).
          returned: always
          type: str
          sample: /home/ubuntu/.hermes
        runtime_config_dir:
          description: The same directory as the runtime sees it; V(null) for tiers V(external) and V(none).
          returned: always
          type: str
          sample: /configs
        restart:
          description: What an in-place restart restarts.
          returned: always
          type: dict
          contains:
            method:
              description: V(docker_engine), V(ec2_host), or V(null) where nothing can be restarted.
              returned: always
              type: str
              sample: ec2_host
            container:
              description: The container to restart, or V(null).
              returned: always
              type: str
              sample: molecule-workspace
            unit:
              description: The systemd service to restart, or V(null).
              returned: always
              type: str
              sample: null
        stopped:
          description:
            - On tier V(none), the workspace's C(container) if there is one that does not run, and its C(config_dir), else V(null). The playbook
              C(molecule_ai.workspace.rollback) can still reach its plugins.
          returned: always
          type: dict
          sample: null
        engine:
          description:
            - The options that reach the Docker engine on which the workspace was found, on tier V(docker) or when C(stopped) is set, else V(null).
              Never a secret.
          returned: always
          type: dict
          sample: null
        connection:
          description:
            - The connection variables that reach the workspace, by name; empty for tiers V(external) and V(none), and where O(known) is returned, because
              the inventory has set them already. Never a secret.
          returned: always
          type: dict
          sample:
            ansible_connection: molecule_ai.workspace.eic
            ansible_host: i-0123456789abcdef0
            ansible_user: ubuntu
            ansible_become: true
            ansible_become_method: ansible.builtin.sudo
            ansible_pipelining: true
            ansible_python_interpreter: python3
            ansible_eic_instance_id: i-0123456789abcdef0
            ansible_eic_region: us-east-2
            ansible_eic_private_address: 10.0.1.17
        looked_up_at:
          description:
            - When an inventory found this, in seconds since 1970; V(null) if this task has looked.
          returned: always
          type: int
          sample: null
        run:
          description:
            - The run of Ansible that has found this, or has taken it from O(known). A cache of facts may show it to a later run, which then looks by itself.
            - V(null) in an answer for O(workspaces), and in what an inventory says.
          returned: always
          type: str
          sample: ansible-local-4711x1y2z3
        download_hint:
          description: What to do instead of a push, on tier V(external), else V(null).
          returned: always
          type: str
          sample: null
    workspace_backends:
      description: The backends by workspace id; each is a dictionary like RV(ansible_facts.workspace_backend).
      returned: when O(workspaces) is given
      type: dict
      sample: {}
"""
