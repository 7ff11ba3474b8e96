#!/usr/bin/python
# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workspace half of ``molecule_plugin``: carries a request of the action plugin of the same name to ``plugin_request``."""
from __future__ import annotations

DOCUMENTATION = r"""
module: molecule_plugin
short_description: Keep plugins of a Molecule AI workspace in their desired state
description:
  - Installs, upgrades, repairs and removes plugins of one workspace, any number in one call, whether the workspace is a container or an EC2 instance.
  - A plugin is compared by its content, never by a recorded version. When nothing differs, nothing is sent and nothing is written.
  - A plugin is replaced in one step. Whatever interrupts a run, the workspace has the old version or the new one, whole, and the next run finishes
    the job.
  - An upgrade or a removal also removes what the runtime placed from the old version (rules in C(CLAUDE.md), skills, hooks, commands and settings).
    What somebody changed since is kept and listed in RV(plugins[].kept).
  - A runtime reads its plugins when it starts. RV(restart_required) says when it has to be restarted, also when an earlier run installed
    something and died before the restart. Use M(molecule_ai.workspace.workspace_restart) to restart it.
  - This is an action plugin. Sources are fetched and verified on the controller, once per run for all hosts. A directory or an
    archive that was changed in the meantime is read again.
version_added: 0.1.0
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
attributes:
  check_mode:
    support: full
    details:
      - The workspace is asked, by a program that only reads, and no plugin is sent to it.
  diff_mode:
    support: full
    details:
      - Text files are shown as unified diffs, other files by their digest, modes and owners as such.
      - Files larger than C(MAX_FILE_SIZE_FOR_DIFF) are shown by their digest, and so are those that seem to contain a secret, unless O(secret_scan=none).
  idempotent:
    support: full
  platform:
    platforms: posix
    support: full
    description: Target OS/families that can be operated against.
    details:
      - The workspace needs Linux and Python 3.8 or later; nothing else is installed there.
options:
  name:
    description:
      - Name of the plugin, which is the name of its directory on the workspace.
      - 1 to 128 characters of C(a-z), C(0-9), C(.), C(_) and C(-), starting with a letter or digit, without C(..).
      - Mutually exclusive with O(plugins). One of them is required.
    type: str
  source:
    description:
      - Where the plugin comes from. Required for O(state=present).
      - A directory or a C(.tar.gz) or C(.tgz) file on the controller, with or without one top-level directory.
      - A relative path is searched for like a role's files, then beside the inventory, then in the current directory.
      - A git repository with a pinned ref, for example V(git+https://git.example.com/ecc.git#v1.2.0) or V(git+file:///srv/git/ecc.git#v1.2.0).
      - V(github://owner/repository#ref) for a repository on GitHub. See O(github_url) for mirrors.
      - V(local://name) or just V(name) for a directory in O(registry). A path in the current directory is written V(./name).
      - The ref is a tag or a full commit id. See O(allow_unpinned) for everything else.
    type: str
  state:
    description:
      - V(present) makes the plugin on the workspace equal to O(source).
      - V(absent) removes the plugin and what the runtime placed from it. O(source) is not read.
      - V(rolled_back) makes the plugin what it was before its last change of version, which the workspace has kept. After an upgrade that is the earlier
        version, after a removal the plugin is there again, after a first install it is removed. O(source) is not read.
      - A rollback is not rolled back. When the plugin already came by one, V(rolled_back) changes nothing until another version is installed.
      - The kept version must be as it was when it was replaced. If it is not, or if there is none, the task fails before anything is changed.
    type: str
    choices: [present, absent, rolled_back]
    default: present
  allow_unpinned:
    description:
      - Accept a git source whose ref is a branch, or that has none. Two runs may then install different content.
    type: bool
    default: false
  allow_unsigned:
    description:
      - Accept a source without a good signature although O(allowed_signers) is set.
    type: bool
    default: false
  digest:
    description:
      - Refuse the source unless its content has this digest. RV(plugins[].digest) of an earlier run tells it.
      - It covers names, modes and bytes of all files and looks like V(sha256:) and 64 hexadecimal digits.
    type: str
  sha256:
    description:
      - Refuse the source unless the SHA-256 of its C(plugin.yaml) is this one, as in the C(sha256) of the platform's install request.
      - It says nothing about the other files; see O(digest) for that.
    type: str
  commit:
    description:
      - Refuse the source unless its ref names this commit, given as its 40 hexadecimal digits. For git repositories.
      - With a tag in O(source), people read the version and a tag that somebody has moved is noticed. RV(plugins[].revision) of an earlier run tells it.
    type: str
  any_runtime:
    description:
      - Install the plugin even if its C(plugin.yaml) does not list the workspace's runtime.
    type: bool
    default: false
  include_repository_files:
    description:
      - Also ship files that only matter to the plugin's repository, like C(.github) and C(.gitignore).
      - C(.git), C(__pycache__) and C(*.pyc) are never shipped.
    type: bool
    default: false
  plugins:
    description:
      - The plugins of the workspace, when there are several. They are one inspection, one transfer, one change and need one restart.
      - All of them are verified before the first one is changed.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      source:
        description: As O(source). Required for O(plugins[].state=present).
        type: str
      state:
        description: As O(state).
        type: str
        choices: [present, absent, rolled_back]
        default: present
      allow_unpinned:
        description: As O(allow_unpinned).
        type: bool
        default: false
      allow_unsigned:
        description: As O(allow_unsigned).
        type: bool
        default: false
      digest:
        description: As O(digest).
        type: str
      sha256:
        description: As O(sha256).
        type: str
      commit:
        description: As O(commit).
        type: str
      any_runtime:
        description: As O(any_runtime).
        type: bool
        default: false
      include_repository_files:
        description: As O(include_repository_files).
        type: bool
        default: false
  registry:
    description:
      - The directory on the controller in which V(local://name) sources are looked for. A relative path is searched for like O(source).
    type: path
  config_dir:
    description:
      - The workspace's config dir, as the connection sees it. Plugins lie in its directory C(plugins).
      - The default is what M(molecule_ai.workspace.workspace_backend_facts) found. Without either, the task fails.
    type: path
  runtime_config_dir:
    description:
      - The config dir as the runtime sees it, which on an EC2 instance may be another path. It is needed to recognise placed settings.
      - The default is what M(molecule_ai.workspace.workspace_backend_facts) found, otherwise O(config_dir).
    type: path
  runtime:
    description:
      - The workspace's runtime, compared with the runtimes that a plugin supports.
      - The default is what M(molecule_ai.workspace.workspace_backend_facts) found.
    type: str
  owner:
    description: The numeric user that owns the plugin's files, which is the runtime's agent.
    type: int
    default: 1000
  group:
    description: The numeric group of the plugin's files.
    type: int
    default: 1000
  exclusive:
    description:
      - Remove every plugin directory that O(name) or O(plugins) does not name.
      - That includes directories whose names no plugin can have, dot directories too, because the runtime loads them. Other files are not removed, only
        listed in RV(unmanaged).
      - It also includes what the runtime made of a plugin whose directory somebody has deleted.
      - Directories that are removed are kept in C(.molecule_ai) in the config dir, plugins as their previous version, others in C(modified).
    type: bool
    default: false
  max_bytes:
    description: The number of bytes that all files of one plugin may have together. A plugin of exactly this size is accepted.
    type: int
    default: 104857600
  lock_timeout:
    description: How many seconds to wait for another run that is changing plugins on the same workspace.
    type: int
    default: 60
  allowed_signers:
    description:
      - A file on the controller with the public keys whose SSH signatures count, as described in the manual page of C(ssh-keygen) under ALLOWED SIGNERS.
      - When it is set, each source must have a good signature of one of them. A relative path is searched for like O(source).
      - A tag of a git source must be signed itself (C(git tag -s)), and by that very name. A commit that is named by its id must be signed.
      - An archive has its signature beside it, in a file with C(.sig) appended (C(ssh-keygen -Y sign -n file)).
      - A directory, also in O(registry), has a signature of its RV(plugins[].digest) and a line feed beside it, in a file with C(.sig) appended, made
        with C(ssh-keygen -Y sign -n plugin-digest@moleculesai.app).
      - Signatures of other kinds, such as OpenPGP, do not count.
    type: path
  revoked_signers:
    description:
      - A file on the controller with keys whose signatures do not count, which is a key revocation list or has one public key per line.
        A relative path is searched for like O(source).
    type: path
  allowlist:
    description:
      - Names of the plugins that may be installed. When it is empty, all are allowed.
      - Removals are always allowed, also those by V(rolled_back) of a first install.
      - With O(allowlist_file) or O(allowlist_from_platform), a plugin must be on each list that is given.
    type: list
    elements: str
    default: []
  allowlist_file:
    description:
      - A YAML or JSON file on the controller with the names of the plugins that may be installed. A relative path is searched for like O(source).
      - It is a list of names, or the platform's own answer, a mapping with C(plugins) (a list of mappings with C(plugin_name)) and C(allow_all).
      - A list without entries allows everything. A file that cannot be read, or holds anything else, fails the task.
    type: path
  allowlist_from_platform:
    description:
      - Ask the platform which plugins the organisation O(platform_org_id) allows, once per run. Needs O(platform_url) and O(platform_token).
      - A list without entries allows everything. When the platform cannot be asked, the task fails.
    type: bool
    default: false
  github_url:
    description: Where the repositories of V(github://) sources are cloned from.
    type: str
    default: https://github.com
  source_timeout:
    description: How many seconds fetching one source may take.
    type: int
    default: 120
  secret_scan:
    description:
      - What to do about what seems to be a secret in a plugin's text files (private keys, AWS access keys, tokens in well-known formats). Every agent that gets
        the plugin could read it.
      - V(warn) warns with file, line and kind, never with the text itself. V(fail) refuses the plugin, also if it cannot be looked through as a whole.
      - 'A line that is none is marked by a comment with C(pragma: allowlist secret) in it.'
    type: str
    choices: [warn, fail, none]
    default: warn
  max_drift:
    description: How many differences of each plugin are listed in RV(drift), at least one. RV(plugins[].drift_count) always counts all of them.
    type: int
    default: 100
  placements:
    description:
      - Also look whether what the runtime made of a plugin (rules in C(CLAUDE.md), copied skills, hooks, commands, settings) was changed since, and list
        it in RV(drift) as V(placement).
      - Nothing is done about it, because it is a person's change.
    type: bool
    default: false
  _request:
    description:
      - The order that this module's action plugin sends to the workspace. Not for tasks, where it is refused.
    type: dict
notes:
  - The workspace is not told to restart. That is left to M(molecule_ai.workspace.workspace_restart), so that several changes cost one restart.
  - Root, or the user that owns the config dir, is needed on the workspace. On an EC2 instance that means C(become=true).
  - A plugin directory's C(__pycache__) and C(*.pyc), which the runtime makes, do not count as differences.
  - The version that was replaced or removed is kept in C(.molecule_ai/previous) in the config dir, one version per plugin, for O(state=rolled_back).
    What a repair has replaced is kept in C(.molecule_ai/modified).
  - The files of an installed plugin that the runtime places something of are kept a second time, in C(.molecule_ai/installed), so that their placements
    are recognised even after somebody has changed the plugin.
extends_documentation_fragment:
  - molecule_ai.workspace.attributes
  - molecule_ai.workspace.platform
requirements:
  - detect-secrets (Python package) on the controller, to look for secrets in plugins
  - git on the controller, for sources that are git repositories (2.34 or newer with O(allowed_signers))
  - ssh-keygen of OpenSSH 8.2 or newer on the controller, with O(allowed_signers)
seealso:
  - module: molecule_ai.workspace.workspace_backend_facts
    description: Finds out where a workspace runs and how it is reached.
  - module: molecule_ai.workspace.workspace_restart
    description: Restarts the runtime, so that it reads the changed plugins.
"""

EXAMPLES = r"""
- name: Install one plugin from GitHub
  molecule_ai.workspace.molecule_plugin:
    name: browser-automation
    source: github://Molecule-AI/molecule-ai-plugin-browser-automation#v1.1.0
  register: plugin

- name: Restart the runtime if it has to be
  molecule_ai.workspace.workspace_restart:
  when: plugin.restart_required

- name: Keep exactly these plugins on the workspace
  molecule_ai.workspace.molecule_plugin:
    exclusive: true
    plugins:
      - name: browser-automation
        source: github://Molecule-AI/molecule-ai-plugin-browser-automation#v1.1.0
      - name: ecc
        source: files/plugins/ecc
      - name: careful-bash
        source: local://careful-bash
        digest: sha256:0b8c30631e000491546e631518c2b92022878906f4f38dcafab098cd0114ec17
    registry: /srv/molecule/plugins

- name: Remove a plugin and all that the runtime made of it
  molecule_ai.workspace.molecule_plugin:
    name: old-plugin
    state: absent

- name: Go back to the version before the last upgrade
  molecule_ai.workspace.molecule_plugin:
    name: ecc
    state: rolled_back

- name: Audit, without changing anything
  molecule_ai.workspace.molecule_plugin:
    name: ecc
    source: files/plugins/ecc
  check_mode: true
  diff: true
  register: audit
  failed_when: audit.drift | length > 0
"""

RETURN = r"""
restart_required:
  description:
    - Whether the runtime has to be restarted to read its plugins as they are now, because of this run or because of an earlier one.
    - In check mode, whether it would have to be.
  returned: success
  type: bool
  sample: true
plugins:
  description: One element for each plugin that was asked for or removed, in that order.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The plugin's name.
      returned: success
      type: str
      sample: ecc
    state:
      description: The state that was asked for.
      returned: success
      type: str
      sample: present
    action:
      description:
        - What was done, or would be done in check mode.
        - V(repaired) means that the recorded version was there, but its files had been changed or deleted. It changes no version, so no rollback undoes it.
        - It is one of V(installed), V(upgraded), V(repaired), V(removed), V(rolled_back) and V(none).
      returned: success
      type: str
      sample: upgraded
    digest:
      description: The digest of the plugin's content as it is now, or would be. Null when it is absent.
      returned: success
      type: str
      sample: sha256:0b8c30631e000491546e631518c2b92022878906f4f38dcafab098cd0114ec17
    previous_digest:
      description: The digest of what was there before. Null when there was nothing.
      returned: success
      type: str
      sample: sha256:dd9f11d09e2094d17227d660d21942bbb5e64db76baa8bae1eb8125468a25beb
    version:
      description: The version in the source's C(plugin.yaml), or for V(rolled_back) the one that was recorded when that version was installed.
      returned: success
      type: str
      sample: 1.1.0
    installed_version:
      description: The version that was found, if its digest proves it. Null when nothing was there, or when its files have been changed.
      returned: success
      type: str
      sample: 1.0.0
    revision:
      description: The commit that the source's ref names. Null for sources that are no git repository.
      returned: success
      type: str
      sample: 5f0c9d2f1d0e4c1c9f0e8a1b2c3d4e5f60718293
    signed_by:
      description: The allowed signer whose signature of the source was verified, with the key. Null without O(allowed_signers).
      returned: success
      type: str
      sample: releases@example.com (ED25519 SHA256:UqPpVBLE0p3fM8ZXSv5Ie4DZTzBPbVeSwZRVFMzDBpg)
    possible_secrets:
      description:
        - What seems to be a secret in the source, at most 100 places. Null when it was not looked through, see O(secret_scan).
      returned: success
      type: list
      elements: dict
      contains:
        path:
          description: The file, relative to the plugin's directory.
          returned: success
          type: str
          sample: skills/deploy/SKILL.md
        line:
          description: The line in it.
          returned: success
          type: int
          sample: 12
        kind:
          description: What it seems to be.
          returned: success
          type: str
          sample: AWS Access Key
    source:
      description: The source, without any credentials. For V(rolled_back) the one that the restored version came from, as far as that is known.
      returned: success
      type: str
      sample: github://Molecule-AI/molecule-ai-plugin-ecc#v1.1.0
    removed_placements:
      description: What the runtime had placed from the old version and what was removed with it, at most 100 of them.
      returned: success
      type: list
      elements: str
      sample: ["CLAUDE.md: rule guidelines.md", "skills/helper/SKILL.md"]
    removed_placements_count:
      description: The number of all of them.
      returned: success
      type: int
      sample: 2
    kept_count:
      description: The number of what was left, however many of it RV(plugins[].kept) lists.
      returned: success
      type: int
      sample: 1
    kept:
      description:
        - What the runtime had placed from the old version and what was left, because it is not what the plugin had placed any more, at most 100 of it.
      returned: success
      type: list
      elements: dict
      contains:
        path:
          description: What was left.
          returned: success
          type: str
          sample: skills/helper/SKILL.md
        reason:
          description: Why it was left.
          returned: success
          type: str
    drift_count:
      description: The number of differences that were found before anything was changed.
      returned: success
      type: int
      sample: 2
drift:
  description: How the workspace differed from what was asked for, before anything was changed. See O(max_drift).
  returned: success
  type: list
  elements: dict
  contains:
    plugin:
      description: The plugin's name.
      returned: success
      type: str
      sample: ecc
    kind:
      description:
        - V(missing), V(modified), V(extra), V(owner) or V(mode) for a file or directory.
        - V(placement) for something that the runtime made of the plugin and that was changed since, and for what it made of a plugin whose directory
          somebody has deleted; RV(drift[].path) is relative to the config dir.
        - V(unmanaged) for a plugin that was not asked for, V(restart_pending) for one that was changed without a restart since.
      returned: success
      type: str
      sample: modified
    path:
      description: The path relative to the plugin's directory, which itself is an empty path.
      returned: success
      type: str
      sample: rules/guidelines.md
    expected:
      description: What should be there, in short.
      returned: success
      type: str
      sample: file of 38 bytes, sha256 9225cdec12390984
    observed:
      description: What is there, in short.
      returned: success
      type: str
      sample: file of 12 bytes, sha256 432967a27ef97d8f
drift_count:
  description: The number of differences of all plugins together, however many of them O(max_drift) lets RV(drift) list.
  returned: success
  type: int
  sample: 2
unmanaged:
  description: What lies in the workspace's C(plugins) directory and was not asked for. Files are listed, though they are no drift.
  returned: success
  type: list
  elements: str
  sample: [experiment]
recovered:
  description: What an interrupted earlier run had left and what was made of it, one sentence each.
  returned: success
  type: list
  elements: str
  sample: ["finished an interrupted change of plugin 'ecc'"]
recovered_placements:
  description:
    - What became of the placements of the version that an interrupted earlier run had begun to replace or to remove, of each plugin for which that was
      finished now, whether the task names it or not. That run could not report it.
  returned: success
  type: list
  elements: dict
  contains:
    plugin:
      description: The plugin's name.
      returned: success
      type: str
      sample: ecc
    removed_placements:
      description: As RV(plugins[].removed_placements).
      returned: success
      type: list
      elements: str
      sample: ["CLAUDE.md: rule guidelines.md"]
    removed_placements_count:
      description: As RV(plugins[].removed_placements_count).
      returned: success
      type: int
      sample: 1
    kept_count:
      description: As RV(plugins[].kept_count).
      returned: success
      type: int
      sample: 1
    kept:
      description: As RV(plugins[].kept), what a person had changed among it, and was left.
      returned: success
      type: list
      elements: dict
      sample: [{"path": "skills/helper/SKILL.md", "reason": "changed since it was placed"}]
transferred_bytes:
  description: The size of what was sent to the workspace. Zero when nothing differed.
  returned: success
  type: int
  sample: 18432
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils import plugin_request
from ..module_utils.plugin_options import ARGUMENT_SPEC
from ..module_utils.request_module import REQUEST_ARGUMENT_SPEC, answer


def main() -> None:
    """Carry the action plugin's request out and give its result back."""
    module = AnsibleModule(argument_spec=dict(ARGUMENT_SPEC, **REQUEST_ARGUMENT_SPEC), supports_check_mode=True)
    answer(module, plugin_request.changes, plugin_request.handle)


if __name__ == "__main__":
    main()
