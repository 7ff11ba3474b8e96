# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapter: the options of the inventory -> ``fleet_sources`` -> ``fleet_merge`` -> ``fleet_backends`` -> hosts, variables and groups."""
from __future__ import annotations

DOCUMENTATION = r"""
name: workspaces
short_description: Molecule AI workspaces from Docker engines, EC2, the platform and files
version_added: 0.1.0
author:
  - The molecule_ai.workspace maintainers (@Molecule-AI)
description:
  - Finds the workspaces of a fleet in any combination of sources, with a number of questions that does not grow with the fleet, and puts together by
    workspace id what they say.
  - Each workspace is a host of the group C(workspaces), with its tier, by the same ladder as M(molecule_ai.workspace.workspace_backend_facts), and with the
    connection variables that reach it. The role P(molecule_ai.workspace.backend#role) has nothing left to look up.
  - The configuration is a YAML file whose name ends in C(workspaces.yml) or C(workspaces.yaml).
options:
  plugin:
    description: The name of this plugin, V(molecule_ai.workspace.workspaces).
    type: str
    required: true
    choices: [molecule_ai.workspace.workspaces]
  sources:
    description:
      - Where to look. The order counts where two sources disagree, because the first one that says something of a workspace is believed. What the others
        say is in the host variable C(workspace_conflicts).
      - Sources of type V(platform), V(database) and V(file) say which workspaces there are and what they are. Sources of type V(docker) and V(ec2) are the
        places where they run, and show workspaces that the others do not know.
      - All sources are asked at the same time. Values can be templates, for example with lookups of secrets, and files can be encrypted with Ansible Vault.
    type: list
    elements: dict
    required: true
    suboptions:
      type:
        description: What kind of source this is.
        type: str
        required: true
        choices: [docker, ec2, platform, database, file]
      name:
        description: How the source is called in host variables and messages. It defaults to the type, with a number from the second one on.
        type: str
      docker_host:
        description:
          - For type V(docker). URL of the Docker engine, for example V(unix:///var/run/docker.sock), V(tcp://192.0.2.23:2376) or V(ssh://ops@192.0.2.23).
          - If it is not set, the environment variable E(DOCKER_HOST) is used.
        type: str
        default: unix:///var/run/docker.sock
        aliases: [docker_url]
      tls:
        description:
          - For type V(docker). Use TLS without verifying the engine's certificate. O(sources[].validate_certs=true) takes precedence.
          - If it is not set, the environment variable E(DOCKER_TLS) is used.
        type: bool
        default: false
      validate_certs:
        description:
          - For type V(docker). Use TLS and verify the engine's certificate, which must be valid for the host name in O(sources[].docker_host).
          - If it is not set, the environment variable E(DOCKER_TLS_VERIFY) is used.
        type: bool
        default: false
        aliases: [tls_verify]
      ca_path:
        description:
          - For type V(docker). Path of the CA certificate that the engine's certificate is verified with.
          - If it is not set and the environment variable E(DOCKER_CERT_PATH) is, C(ca.pem) in that directory is used.
        type: path
        aliases: [ca_cert, tls_ca_cert, cacert_path]
      client_cert:
        description:
          - For type V(docker). Path of the TLS client certificate.
          - If it is not set and the environment variable E(DOCKER_CERT_PATH) is, C(cert.pem) in that directory is used.
        type: path
        aliases: [tls_client_cert, cert_path]
      client_key:
        description:
          - For type V(docker). Path of the TLS client certificate's key.
          - If it is not set and the environment variable E(DOCKER_CERT_PATH) is, C(key.pem) in that directory is used.
        type: path
        aliases: [tls_client_key, key_path]
      api_version:
        description:
          - For type V(docker). Version of the Docker API; V(auto) uses the newest that both sides know.
          - If it is not set, the environment variable E(DOCKER_API_VERSION) is used.
        type: str
        default: auto
        aliases: [docker_api_version]
      timeout:
        description:
          - For types V(docker) and V(database). Seconds to wait for an answer.
          - It defaults to 60 for an engine, or the environment variable E(DOCKER_TIMEOUT), and to 30 for the database, where it is the statement's timeout.
        type: int
      regions:
        description:
          - For type V(ec2). AWS regions to look in, all at the same time.
          - If it is not set, E(AWS_REGION), E(AWS_DEFAULT_REGION), the profile's region and V(us-east-2) are tried, in this order.
        type: list
        elements: str
        aliases: [region]
      filters:
        description:
          - For type V(ec2). Further filters of EC2's C(DescribeInstances), values by filter name. They are added to C(tag:Role=workspace),
            C(tag-key=WorkspaceID) and the states in which an instance still exists, or replace them where they have the same name.
        type: dict
      profile:
        description:
          - For type V(ec2). Named profile of the AWS configuration on the controller. It excludes O(sources[].access_key), O(sources[].secret_key)
            and O(sources[].session_token).
          - Without a profile and without keys, credentials are searched where all AWS tools search them (E(AWS_PROFILE), E(AWS_ACCESS_KEY_ID),
            SSO, container and instance roles, and so on).
        type: str
        aliases: [aws_profile]
      access_key:
        description:
          - For type V(ec2). AWS access key id; needs O(sources[].secret_key).
        type: str
        aliases: [aws_access_key_id, aws_access_key, ec2_access_key]
      secret_key:
        description:
          - For type V(ec2). AWS secret access key; needs O(sources[].access_key).
        type: str
        aliases: [aws_secret_access_key, aws_secret_key, ec2_secret_key]
      session_token:
        description:
          - For type V(ec2). Session token of temporary credentials; needs O(sources[].access_key) and O(sources[].secret_key).
        type: str
        aliases: [aws_session_token]
      endpoint_url:
        description:
          - For type V(ec2). URL to use instead of AWS's own for the region, for example that of a VPC endpoint.
        type: str
        aliases: [aws_endpoint_url, ec2_url]
      aws_ca_bundle:
        description:
          - For type V(ec2). Path of a CA bundle that AWS's certificates are verified with.
          - If it is not set, the environment variable E(AWS_CA_BUNDLE) is used.
        type: path
      assume_role_arn:
        description:
          - For type V(ec2). ARN of an IAM role to assume before EC2 is asked.
        type: str
        aliases: [iam_role_arn]
      platform_url:
        description:
          - For type V(platform). Base address of the platform, for example V(https://acme.moleculesai.app).
          - If it is not set, the environment variable E(MOLECULE_API_URL) is used.
        type: str
      platform_token:
        description:
          - For type V(platform). An administrator's token.
          - If it is not set, the environment variable E(MOLECULE_API_TOKEN) is used, or else E(MOLECULE_API_KEY).
        type: str
      platform_org_id:
        description:
          - For type V(platform). Id of the organisation, which tenants of the SaaS need. The workspaces of this source belong to it.
          - If it is not set, the environment variable E(MOLECULE_ORG_ID) is used.
        type: str
      platform_validate_certs:
        description:
          - For type V(platform). Whether the platform's certificate is verified.
        type: bool
        default: true
      platform_ca_path:
        description:
          - For type V(platform). CA certificates to verify it with, a path on the controller.
        type: path
      dsn:
        description:
          - For type V(database). How to reach the platform's PostgreSQL database, as libpq takes it,
            V(postgresql://user@host/database?sslmode=verify-full) or V(host=… dbname=… user=…). What it does not say is taken from libpq's own places
            (E(PGHOST), E(PGUSER), E(PGPASSWORD), E(PGSERVICE), C(~/.pgpass)).
          - If it is not set, the environment variable E(MOLECULE_DATABASE_URL) is used.
          - The user needs no more than C(SELECT) on the table. The only transaction is C(READ ONLY) in any case.
        type: str
      table:
        description:
          - For type V(database). The table of workspaces, with its schema if that is not on the search path.
        type: str
        default: workspaces
      path:
        description:
          - For type V(file). A YAML or JSON file with a list of workspaces, each a dictionary with C(workspace_id) and any of C(name), C(runtime),
            C(status), C(org_id), C(parent_id), C(instance_id), C(container), C(config_dir), C(unit), C(runtime_container) and C(region), or with that
            list under the key C(workspaces). It is relative to the configuration file, and may be encrypted with Ansible Vault.
        type: str
  on_error:
    description:
      - What happens when a source cannot be asked.
      - V(fail) fails this inventory with one sentence for each source that failed. Note that ansible-core then goes on with the other inventories, and with
        nothing at all if there is none, unless E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED) is set.
      - V(mark) keeps what can be known without it. A workspace that the failed source could hold, or could say more of, is a host of tier V(none) whose
        C(workspace_backend.lookup) is V(failed), with the reason. With O(cache) and a persistent cache plugin this includes the workspaces that only the last
        complete inventory knew.
      - In both cases the variable C(workspace_inventory_failures) of the group C(all) lists the failures, also where there is no host to mark.
    type: str
    choices: [fail, mark]
    default: fail
    env:
      - name: MOLECULE_INVENTORY_ON_ERROR
  hostnames:
    description:
      - Where the name of a host comes from, in order of preference. Each is the name of a host variable or a Jinja expression over them.
      - A name is passed over if it is empty, no usable host name, or not unique in the fleet. The last resort is always the workspace's id, the only name
        that is unique and never changes. Names of workspaces can be changed by their users, and C(host_vars) follow the name.
      - So is a name that means something else, because whoever names a workspace chooses it. That is the name of any group, whatever makes it, or one that
        begins like those of O(group_by), a host of another inventory that was read before and is not known to be the same workspace by its
        C(workspace_id), the id of another workspace, or what like V(localhost) Ansible gives a meaning of its own. A warning says so.
    type: list
    elements: str
    default: [workspace_id]
  group_by:
    description:
      - For which properties there are groups, for example C(tier_eic), C(runtime_claude_code), C(status_online) and C(org_) with the organisation's id.
        The groups of the tiers are the children of C(workspaces).
    type: list
    elements: str
    choices: [tier, runtime, status, org]
    default: [tier, runtime, status, org]
  external_runtimes:
    description: Runtimes that run elsewhere and pull their plugins themselves. Compared without case and surrounding blanks.
    type: list
    elements: str
    default: [external]
  runtime_config_dirs:
    description:
      - The config dir on an EC2 host by runtime. Runtimes that it does not name have V(/configs). A map given here replaces the default as a whole.
    type: dict
    default:
      hermes: /home/ubuntu/.hermes
      langgraph: /opt/configs
  os_user:
    description: The login user of EC2 hosts; it needs C(sudo) without a password.
    type: str
    default: ubuntu
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
notes:
  - Tokens, keys and the DSN of the database are never in host variables, the cache or messages.
  - With O(cache), what the sources said is cached, and the host variable C(workspace_backend.looked_up_at) is the time when they said it. A cache entry that
    was made with other O(sources) is not used, which includes what is taken from the environment, another database in O(sources[].dsn), another AWS key id
    or role, another O(sources[].platform_token) and a file of type V(file) that was written since. The entry has only digests of these, and that of the
    token is salted and slow to guess. What files of AWS, libpq, Docker and ssh say is not compared.
  - Texts of the sources are never evaluated as templates.
requirements:
  - L(Docker SDK for Python,https://docker-py.readthedocs.io/en/stable/) 7.0 or newer for sources of type V(docker)
  - C(boto3) 1.34 or newer for sources of type V(ec2)
  - C(psycopg) 3.1 or newer for sources of type V(database)
seealso:
  - module: molecule_ai.workspace.workspace_backend_facts
  - plugin: molecule_ai.workspace.eic
    plugin_type: connection
  - plugin: community.docker.docker_containers
    plugin_type: inventory
  - plugin: amazon.aws.aws_ec2
    plugin_type: inventory
"""

EXAMPLES = r"""
# fleet.workspaces.yml: a SaaS tenant. The platform says what the workspaces are, the tags where they run.
# MOLECULE_API_URL, MOLECULE_API_TOKEN and MOLECULE_ORG_ID are in the environment, as an AWX credential puts them there.
plugin: molecule_ai.workspace.workspaces
sources:
  - type: platform
  - type: ec2
    regions: [us-east-2, eu-west-1]
    profile: fleet

---
# Two self-hosted engines, one over TLS and one over ssh, and what only the operator knows
plugin: molecule_ai.workspace.workspaces
sources:
  - type: file
    path: known-workspaces.yml
  - type: docker
    name: rack-1
    docker_host: tcp://rack-1.example.com:2376
    validate_certs: true
    ca_path: /etc/docker-client/ca.pem
    client_cert: /etc/docker-client/cert.pem
    client_key: /etc/docker-client/key.pem
  - type: docker
    name: rack-2
    docker_host: ssh://ops@rack-2.example.com

---
# The platform's database and two AWS accounts. Workspaces are named as on the platform, a failed source marks its workspaces, and what was found is cached.
plugin: molecule_ai.workspace.workspaces
sources:
  - type: database
    dsn: "postgresql://audit@db.example.com/molecule?sslmode=verify-full"   # the password is in PGPASSWORD or ~/.pgpass
    timeout: 10
  - type: ec2
    name: account-a
    assume_role_arn: arn:aws:iam::123456789012:role/workspace-audit
  - type: ec2
    name: account-b
    profile: account-b
    filters:
      "tag:OrgID": [7d0e4c1a-93b5-4f6e-8a2d-5c1b0f9e8d7c]
on_error: mark
hostnames: [workspace_name]
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/molecule-workspaces
keyed_groups:
  - key: ansible_eic_region | default('none')
    prefix: region
groups:
  disputed: workspace_conflicts | length > 0
compose:
  workspace_docs_url: "'https://wiki.example.com/workspaces/' ~ workspace_id"
"""

import functools
import itertools
import os
import time
import typing as t

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.inventory.group import Group
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable, get_cache_plugin
from ansible.utils.path import basedir
from ansible.utils.unsafe_proxy import wrap_var
from ansible.utils.vars import combine_vars

from ..module_utils import names
from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..plugin_utils import backend, constructed_host, fleet_backends, fleet_cache, fleet_hosts, fleet_merge, fleet_records, fleet_sources, preload, task_data

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core up to 2.18
    trust_as_template = None

FAILURES = "workspace_inventory_failures"
_SUFFIXES = ("workspaces.yml", "workspaces.yaml")


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The fleet as an inventory."""

    NAME = "molecule_ai.workspace.workspaces"

    def verify_file(self, path: str) -> bool:
        """Whether the file's name says that it is for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(_SUFFIXES)

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Fill the inventory; raises ``AnsibleParserError`` with one sentence a person can act on."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            self._fill(path, cache)
        except WorkspaceError as error:
            raise AnsibleParserError(str(error)) from None

    def _fill(self, path: str, cache: bool) -> None:
        sources = fleet_sources.from_options(self._templated(self.get_option("sources")))
        answers, looked_up_at = self._answers(sources, path, cache)
        failures = {source: answers[source.name].failure for source in sources if answers[source.name].failure}
        self._note(failures, path)
        if failures and self.get_option("on_error") == "fail":
            raise WorkspaceError("; ".join(f"source {source.name}: {failure}" for source, failure in failures.items()))
        fleet = fleet_merge.merge(sources, answers)
        for text in [*fleet.remarks, *(f"source {source.name}: {failure}" for source, failure in failures.items())]:
            self.display.warning(f"{path}: {text}")
        locator = fleet_backends.Locator(sources, answers, self._settings(), self.get_option("os_user"), looked_up_at)
        located = locator.locate(fleet)
        located += [locator.missing(workspace) for workspace in self._last_known(path, fleet, sources, {source.name for source in failures}, located)]
        self._add_hosts(located)

    def _templated(self, value: t.Any) -> t.Any:
        """Option values with their templates evaluated, in built-in types."""
        return task_data.plain(self.templar.template(value))

    def _settings(self) -> backend.Settings:
        directories = self.get_option("runtime_config_dirs")
        return backend.Settings(
            external_runtimes=self.get_option("external_runtimes"),
            runtime_config_dirs={str(runtime): names.validate_config_dir(task_data.plain(path)) for runtime, path in directories.items()},
        )

    def _load(self, directory: str) -> t.Callable[[str], t.Any]:
        def load(path: str) -> t.Any:
            absolute = os.path.join(directory, os.path.expanduser(path))
            try:
                return task_data.plain(self.loader.load_from_file(absolute, cache="none"))
            except AnsibleError as error:
                raise InvalidInputError(f"cannot read the workspaces in {absolute}: {error}") from error
        return load

    # -- cache ---------------------------------------------------------------------------------------------------------------

    def _answers(self, sources: t.Sequence[fleet_sources.Source], path: str, cache: bool) -> tuple[dict[str, fleet_records.Answer], int]:
        """What the sources say, from the cache if it is on and holds it, and when they said it (seconds since 1970)."""
        caching, key = self.get_option("cache"), self.get_cache_key(path)
        if caching and cache:
            try:
                return fleet_cache.answers(self._cache[key], sources, path)
            except (KeyError, TypeError, ValueError):
                self.display.vvv(f"{path}: nothing usable is cached, so the sources are asked")
        # before they are asked: a file that is written meanwhile has another
        identity = fleet_cache.Identity.of(sources, path) if caching else None
        looked_up_at = int(time.time())
        answers = fleet_sources.ask(sources, self._load(os.path.dirname(os.path.abspath(path))))
        if identity and not any(answer.failure for answer in answers.values()):
            self._cache[key] = fleet_cache.entry(identity, answers, looked_up_at)
        return answers, looked_up_at

    def _last_known(
        self, path: str, fleet: fleet_merge.Fleet, sources: t.Sequence[fleet_sources.Source], failed: set[str], located: t.Sequence[fleet_backends.Located]
    ) -> list[fleet_merge.FleetWorkspace]:
        """Workspaces that the last complete inventory knew from a source that failed now, and that nothing knows any more.

        They are kept in the cache beside what the sources said, without an end, because an outage lasts longer than a cache entry.
        """
        if not self.get_option("cache"):
            return []
        options = {"_uri": self.get_option("cache_connection"), "_prefix": f"{self.get_option('cache_prefix')}last_known_", "_timeout": 0}
        store = get_cache_plugin(self.get_option("cache_plugin"), **{name: value for name, value in options.items() if value is not None})
        key = self.get_cache_key(path)
        if failed:
            return fleet_cache.missing(store.get(key) or {}, sources, failed, fleet.workspaces)
        store[key] = fleet_cache.memory(sources, located)
        store.set_cache()
        return []

    # -- hosts ---------------------------------------------------------------------------------------------------------------

    def _note(self, failures: t.Mapping[fleet_sources.Source, str | None], path: str) -> None:
        """Leave the failures where a playbook can read them, whatever becomes of this inventory."""
        if failures:
            before = self.inventory.groups["all"].get_vars().get(FAILURES, [])
            found = [{"inventory": path, "source": source.name, "type": source.kind, "reason": reason} for source, reason in failures.items()]
            self.inventory.set_variable("all", FAILURES, [*before, *_literal(found)])

    def _add_hosts(self, located: t.Sequence[fleet_backends.Located]) -> None:
        found = {each.workspace.workspace_id: _literal(fleet_hosts.variables(each)) for each in located}
        group_by = self.get_option("group_by")
        groups = {workspace_id: [self._sanitize_group_name(name) for name in fleet_hosts.groups(each, group_by)] for workspace_id, each in found.items()}
        hosts = self._constructed(found, groups)
        workspaces = self._group(fleet_hosts.GROUP)
        # in order, for plays over it and for people who read its graph
        for name in sorted(set(itertools.chain.from_iterable(groups.values()))):
            if name.startswith("tier_"):
                workspaces.add_child_group(self._group(name))
            else:
                self._group(name)
        for workspace_id, made in sorted(hosts.items(), key=lambda item: item[1].name):
            # its name is no group's, so it can be added by name; for all else ansible-core would look for a group of that name first
            self.inventory.add_host(made.name)
            host = self.inventory.hosts[made.name]
            # all at once, as ansible-core itself does it: set_variable looks at each name anew
            host.vars = combine_vars(host.vars, found[workspace_id])
            for name, value in made.variables.items():
                host.set_variable(name, value)
            for name in groups[workspace_id]:
                self._group(name).add_host(host)
            if "tier" not in group_by:
                workspaces.add_host(host)
            for name in made.groups:
                self._group(name).add_host(host)
            for parent, child in made.children:
                self._group(parent).add_child_group(self._group(child))
        # a run's workers inherit what is read here
        preload.connections({str(self.inventory.hosts[made.name].vars.get("ansible_connection", "")) for made in hosts.values()} - {""})

    def _group(self, name: str) -> Group:
        """The group of this name, which is made if there is none."""
        return t.cast(Group, self.inventory.groups[self.inventory.add_group(name)])

    def _constructed(
        self, found: t.Mapping[str, t.Mapping[str, t.Any]], groups: t.Mapping[str, t.Sequence[str]]
    ) -> dict[str, constructed_host.ConstructedHost]:
        """The name of each workspace's host, and what ``compose``, ``groups`` and ``keyed_groups`` make of it. The inventory stays as it is.

        No name is a group's. What groups there are may depend on names, hence the loop: with each turn, more names cannot be had.
        """
        strict = self.get_option("strict")
        candidates = {workspace_id: self._candidates(variables, strict) for workspace_id, variables in found.items()}
        others = {name: host.vars.get("workspace_id") for name, host in self.inventory.hosts.items()}
        taken = {*self.inventory.groups, fleet_hosts.GROUP, *itertools.chain.from_iterable(groups.values())}
        known: dict[str, Group] = {}
        hosts: dict[str, constructed_host.ConstructedHost] = {}
        while True:
            names = fleet_hosts.host_names(candidates, taken, others)
            for workspace_id, name in names.chosen.items():
                if workspace_id not in hosts or hosts[workspace_id].name != name:
                    hosts[workspace_id] = self._construct(name, found[workspace_id], [fleet_hosts.GROUP, *groups[workspace_id]], known, strict)
            made = set().union(*(host.group_names() for host in hosts.values()))
            if made.isdisjoint(names.chosen.values()):
                break
            taken |= made
        if names.ambiguous:
            more = f", and {len(names.ambiguous) - 1} more" if len(names.ambiguous) > 1 else ""
            self.display.warning(f"several workspaces would have the host name {names.ambiguous[0]!r}{more}, so they have another one")
        if names.refused:
            count = f"{len(names.refused)} workspace{'s' if len(names.refused) > 1 else ''}"
            self.display.warning(
                f"{count} would have a host name that is a group's, another host's or workspace's or reserved, {names.refused[0]!r} for one, so the host is "
                "called otherwise; a prefix in hostnames, as in \"'ws-' ~ workspace_name\", keeps names apart"
            )
        return hosts

    def _construct(
        self, name: str, variables: t.Mapping[str, t.Any], groups: t.Sequence[str], known: dict[str, Group], strict: bool
    ) -> constructed_host.ConstructedHost:
        """What the options make of one workspace, by ansible-core's own helpers."""
        compose, conditions, keyed = (self.get_option(option) for option in ("compose", "groups", "keyed_groups"))
        if not (compose or conditions or keyed):
            return constructed_host.ConstructedHost(name)
        inventory = self.inventory
        # what add_host defines, or what another inventory says of this host
        before = inventory.hosts[name].vars if name in inventory.hosts else {
            "inventory_file": inventory.current_source, "inventory_dir": inventory.current_source and basedir(inventory.current_source),
        }
        recorder = constructed_host.OneHostInventory(name, {**before, **variables}, groups, known)
        self.inventory = recorder
        try:
            self._set_composite_vars(compose, variables, recorder.name, strict=strict)
            self._add_host_to_composed_groups(conditions, variables, recorder.name, strict=strict)
            self._add_host_to_keyed_groups(keyed, variables, recorder.name, strict=strict)
        finally:
            self.inventory = inventory
        return recorder.made

    def _candidates(self, variables: t.Mapping[str, t.Any], strict: bool) -> list[str]:
        """The names that this host could have, in order of preference."""
        candidates = []
        for expression in self.get_option("hostnames"):
            if expression.isidentifier():
                value = variables.get(expression)
            else:
                try:
                    value = self._compose(expression, variables)
                except Exception as error:
                    # anything that a template can raise
                    if strict:
                        raise AnsibleParserError(f"cannot make a host name of {expression!r} for workspace {variables['workspace_id']}: {error}") from error
                    continue
            if isinstance(value, str) and value:
                candidates.append(value)
        return candidates


@functools.lru_cache(maxsize=65536)
def _plain_text(value: str) -> str:
    """A text without a brace, which no template is without. ansible-core since 2.19 writes what is not trusted in a form of its own into listings."""
    return trust_as_template(value) if trust_as_template else value


def _literal(value: t.Any) -> t.Any:
    """``value``, never to be evaluated as a template."""
    if isinstance(value, str):
        return wrap_var(value) if "{" in value else _plain_text(value)
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value
