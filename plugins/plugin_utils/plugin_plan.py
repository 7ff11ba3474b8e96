# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of ``molecule_plugin`` wants of one workspace, and what is to be done about it. No input or output here."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Collection, Mapping, Sequence

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.names import is_plugin_name, validate_config_dir, validate_plugin_name
from ..module_utils.placement_report import CHANGED
from ..module_utils.plugin_options import PLUGIN_ARGUMENT_SPEC
from ..module_utils.plugin_tree import Drift, Entries, compare
from ..module_utils.request_fields import VERSION
from .manifest import validate_pins
from .prepared_plugin import PreparedPlugin
from .workspace_answer import Application, Applied, Observed, Previous


@dataclass(frozen=True)
class WantedPlugin:
    """One element of ``plugins``: the options as they are documented."""

    name: str
    state: str
    source: str | None
    allow_unpinned: bool
    allow_unsigned: bool
    digest: str | None
    sha256: str | None
    commit: str | None
    any_runtime: bool
    include_repository_files: bool


@dataclass(frozen=True)
class Target:
    """Where the plugins go, and on which terms.

    ``runtime_config_dir`` is the config dir as the runtime sees it, ``runtime`` may be unknown, ``lock_timeout`` is in seconds,
    ``max_bytes`` is the cap for one plugin.
    """

    config_dir: str
    runtime_config_dir: str
    runtime: str | None
    owner: tuple[int, int]
    lock_timeout: int
    max_bytes: int


@dataclass(frozen=True)
class PluginPlan:
    """What is to be done with one plugin: ``action`` is none, installed, upgraded, repaired, removed or rolled_back."""

    name: str
    state: str
    prepared: PreparedPlugin | None
    observed: Observed
    action: str
    drift: tuple[Drift, ...]

    @property
    def digest(self) -> str | None:
        """What the plugin has afterwards; None when it is absent then."""
        if self.state == "rolled_back":
            return self.observed.digest if self.action == "none" or self.observed.previous is None else self.observed.previous.digest
        return self.prepared.digest if self.prepared is not None else None

    @property
    def entries(self) -> Entries | None:
        """The tree that the plugin has afterwards; None when it is absent then."""
        if self.state == "rolled_back":
            return self.observed.previous.entries if self.observed.previous is not None else None
        return self.prepared.entries if self.prepared is not None else None

    @property
    def source(self) -> str | None:
        """Where the version comes from that is there afterwards, as far as that is known."""
        if self.prepared is not None:
            return self.prepared.source
        return self._restored.source if self._restored is not None else None

    @property
    def version(self) -> str | None:
        """The version that is there afterwards, as its ``plugin.yaml`` says."""
        if self.prepared is not None:
            return self.prepared.version
        return self._restored.version if self._restored is not None else None

    @property
    def problem(self) -> str | None:
        """Why the plugin cannot be rolled back."""
        return self.observed.previous.problem if self.state == "rolled_back" and self.observed.previous is not None else None

    @property
    def _restored(self) -> Previous | None:
        return self.observed.previous if self.action == "rolled_back" else None


def wanted_plugins(options: Mapping[str, Any], given: Collection[str]) -> list[WantedPlugin]:
    """Return what the validated ``options`` ask for; ``given`` are the names of the options that the task really has.

    Raises :class:`InvalidInputError` for names, doubles, missing sources and hashes that cannot be one.
    """
    if options.get("plugins") is None:
        elements = [{option: options[option] for option in PLUGIN_ARGUMENT_SPEC}]
    else:
        misplaced = sorted(set(given) & set(PLUGIN_ARGUMENT_SPEC))
        if misplaced:
            raise InvalidInputError(f"{', '.join(misplaced)} would be ignored beside 'plugins': say it in the elements of 'plugins'")
        elements = options["plugins"]
    wanted = [_wanted_plugin(element) for element in elements]
    seen: set[str] = set()
    for plugin in wanted:
        validate_plugin_name(plugin.name)
        if plugin.name in seen:
            raise InvalidInputError(f"plugin {plugin.name} is listed twice: keep one entry")
        seen.add(plugin.name)
        if plugin.state == "present" and not plugin.source:
            raise InvalidInputError(f"plugin {plugin.name} has no source: set 'source', or state: absent to remove it")
        validate_pins(plugin.digest, plugin.sha256, plugin.commit, plugin.name)
    return wanted


def target_of(options: Mapping[str, Any], backend: Mapping[str, Any], variables: Mapping[str, Any]) -> Target:
    """Return where the plugins go, from the options, else from the fact ``workspace_backend``, else from ``workspace_…`` variables.

    There is no default path: a plugin in the wrong directory looks installed and never runs. Raises :class:`InvalidInputError`.
    """
    _require_push_tier(backend)

    def first(option: str) -> object:
        return options.get(option) or backend.get(option) or variables.get("workspace_" + option)

    config_dir = first("config_dir")
    if not config_dir:
        raise InvalidInputError(
            "the workspace's config dir is not known: run molecule_ai.workspace.workspace_backend_facts first (the role backend does), or set 'config_dir'"
        )
    runtime = first("runtime")
    return Target(
        config_dir=validate_config_dir(config_dir),
        runtime_config_dir=validate_config_dir(first("runtime_config_dir") or config_dir),
        runtime=str(runtime) if runtime else None,
        owner=(options["owner"], options["group"]),
        lock_timeout=options["lock_timeout"],
        max_bytes=options["max_bytes"],
    )


def inspect_request(
    target: Target, wanted: Sequence[WantedPlugin], digests: Mapping[str, str], exclusive: bool, placements: bool = False
) -> dict[str, Any]:
    """Ask about the ``wanted`` plugins; ``digests`` of those that are to be present, by name. ``exclusive``: about all others too.

    ``placements``: also about what the runtime made of plugins that do not differ.
    """
    plugins = [
        {"name": plugin.name, "state": plugin.state, **({"digest": digests[plugin.name]} if plugin.state == "present" else {})} for plugin in wanted
    ]
    return {**_request("inspect", target), "plugins": plugins, "exclusive": exclusive, "placements": placements}


def read_request(target: Target, files: Sequence[tuple[str, str, bool]], max_bytes: int) -> dict[str, Any]:
    """Ask for the texts of files, given as plugin, path and whether the previous version's is meant."""
    asked = [{"plugin": plugin, "path": path, "previous": previous} for plugin, path, previous in files]
    return {**_request("read", target), "files": asked, "max_bytes": max_bytes}


def receive_request(target: Target, transfer: str, offset: int) -> dict[str, Any]:
    """Ask to take in a piece of a transfer; the piece itself is attached to the request."""
    return {**_request("receive", target), "transfer": transfer, "offset": offset}


def apply_request(
    target: Target, plans: Sequence[PluginPlan], shipment: str | None, job: Mapping[str, str], abandoned: Sequence[str] = ()
) -> dict[str, Any]:
    """Ask to carry out ``plans``, each under the condition that the plugin is still what was observed, and to remove the ``abandoned`` transfers."""
    plugins = [
        {
            "name": plan.name,
            "state": plan.state,
            "digest": plan.digest,
            "observed_digest": plan.observed.digest,
            "source": plan.prepared.source if plan.prepared else None,
            "plugin_version": plan.prepared.version if plan.prepared else None,
        }
        for plan in plans
        if is_plugin_name(plan.name)
    ]
    strays = [{"name": plan.name, "observed_digest": plan.observed.digest} for plan in plans if not is_plugin_name(plan.name)]
    request = {**_request("apply", target), "shipment": shipment, "job": dict(job), "plugins": plugins, "strays": strays}
    return {**request, **({"abandoned_transfers": list(abandoned)} if abandoned else {})}


def plan_plugin(wanted: WantedPlugin, prepared: PreparedPlugin | None, observed: Observed, target: Target, placements: bool = False) -> PluginPlan:
    """Decide what is to be done with one plugin; ``prepared`` only if it is to be present.

    ``placements``: what somebody has changed of what the runtime made of it is drift too. Nothing is ever done about that: it is a person's.
    """
    action: str
    drift: list[Drift]
    if wanted.state == "rolled_back":
        action, drift = _plan_rolled_back(wanted.name, observed, target)
    elif prepared is not None:
        action, drift = _plan_present(prepared, observed, target)
    elif observed.exists:
        action, drift = "removed", [_whole_plugin_drift("extra", "absent", f"installed, {observed.digest}")]
    elif observed.has_remains:
        action, drift = "removed", _drift_of_remains(observed)
    else:
        action, drift = "none", []
    if placements:
        drift = drift + [_placement_drift(kept) for kept in observed.placements.kept if CHANGED in kept["reason"]]
    return PluginPlan(wanted.name, wanted.state, prepared, observed, action, tuple(drift))


def warn_of_moved_tag(wanted: WantedPlugin, plan: PluginPlan) -> str | None:
    """Return a warning when the pinned source that is recorded as installed yields something else now."""
    prepared, receipt = plan.prepared, plan.observed.receipt or {}
    if prepared is None or prepared.revision is None or wanted.allow_unpinned or receipt.get("source") != prepared.source:
        return None
    if receipt.get("digest") in (None, prepared.digest):
        return None
    return (
        f"plugin {plan.name}: {prepared.source} is not what it was when it was installed ({receipt['digest']}): its tag was moved, or "
        "include_repository_files was changed; pin it with 'commit' or 'digest'"
    )


def plan_unmanaged(name: str, observed: Observed) -> PluginPlan:
    """Decide to remove a plugin that nobody asked for, or what is left of one."""
    drift = [_whole_plugin_drift("unmanaged", "absent", f"installed, {observed.digest}")] if observed.exists else []
    if observed.has_remains:
        drift = _drift_of_remains(observed)
    return PluginPlan(name, "absent", None, observed, "removed" if drift else "none", tuple(drift))


def needed_bundles(plans: Sequence[PluginPlan]) -> dict[str, PreparedPlugin]:
    """Return what has to be sent, by digest: exactly the plugins that are to be changed and present."""
    return {plan.prepared.digest: plan.prepared for plan in plans if plan.prepared is not None and plan.action != "none"}


def _wanted_plugin(element: Mapping[str, Any]) -> WantedPlugin:
    values: dict[str, Any] = {option: element.get(option) for option in PLUGIN_ARGUMENT_SPEC}
    return WantedPlugin(**values)


def _plan_present(prepared: PreparedPlugin, observed: Observed, target: Target) -> tuple[str, list[Drift]]:
    was_installed = prepared.digest in (observed.digest, (observed.receipt or {}).get("digest"))
    if not observed.exists:
        return "repaired" if was_installed else "installed", [_whole_plugin_drift("missing", f"installed, {prepared.digest}", "absent")]
    if observed.digest == prepared.digest and not observed.wrong_owner:
        return "none", []
    drift = compare(prepared.entries, observed.entries, observed.wrong_owner, target.owner) if observed.entries is not None else []
    if not drift:
        drift = [_whole_plugin_drift("modified", prepared.digest, str(observed.digest))]
    return "repaired" if was_installed else "upgraded", drift


def _plan_rolled_back(name: str, observed: Observed, target: Target) -> tuple[str, list[Drift]]:
    previous, receipt = observed.previous, observed.receipt or {}
    if previous is None:
        raise WorkspaceError(f"the workspace did not say what plugin {name} was before: check what answers under this host's connection")
    if previous.problem is not None:
        return "none", []
    if previous.rolled_back:
        # It came by a rollback; only the installed version's own source could repair what was changed since.
        recorded = receipt.get("digest") if receipt.get("state") == "present" else None
        changed = recorded is not None and recorded != observed.digest
        return "none", [_whole_plugin_drift("modified" if observed.exists else "missing", str(recorded), observed.digest or "absent")] if changed else []
    if previous.digest is None:
        if observed.exists:
            return "rolled_back", [_whole_plugin_drift("extra", "absent", f"installed, {observed.digest}")]
        return ("rolled_back", _drift_of_remains(observed)) if observed.has_remains else ("none", [])
    if not observed.exists:
        return "rolled_back", [_whole_plugin_drift("missing", f"installed, {previous.digest}", "absent")]
    if observed.digest == previous.digest and not observed.wrong_owner:
        return "none", []
    drift = compare(previous.entries or {}, observed.entries, observed.wrong_owner, target.owner) if observed.entries is not None else []
    return "rolled_back", drift or [_whole_plugin_drift("modified", previous.digest, str(observed.digest))]


def with_sent(
    plans: Sequence[PluginPlan], application: Application | None, sent: Mapping[str, PluginPlan]
) -> tuple[list[PluginPlan], Application | None]:
    """Return ``plans`` and ``application`` with what this task had ``sent`` before and got no answer to: what is as it was to become was changed by it."""
    by_name = {plan.name: plan for plan in plans}
    applied = dict(application.plugins) if application is not None else {}
    for name, plan in sent.items():
        now = by_name.get(name)
        done = applied.get(name)
        if done.digest == plan.digest and not done.changed if done is not None else now is None or (now.action == "none" and now.digest == plan.digest):
            by_name[name] = plan
            applied[name] = Applied(True, plan.digest, plan.observed.placements)
    return list(by_name.values()), dataclasses.replace(application, plugins=applied) if application is not None else None


def _placement_drift(kept: Mapping[str, str]) -> Drift:
    return {"kind": "placement", "path": kept["path"], "expected": "as the plugin has it", "observed": kept["reason"]}


def _drift_of_remains(observed: Observed) -> list[Drift]:
    """What a plugin left whose directory somebody has deleted."""
    drift = [{"kind": "placement", "path": path, "expected": "absent", "observed": "placed by the runtime"} for path in observed.placements.removed]
    return drift or [_whole_plugin_drift("extra", "absent", "deleted by hand, but never removed")]


def _whole_plugin_drift(kind: str, expected: str, observed: str) -> Drift:
    """The drift of a plan about the plugin as a whole; its path is empty, as the root's."""
    return {"kind": kind, "path": "", "expected": expected, "observed": observed}


def _request(operation: str, target: Target) -> dict[str, Any]:
    return {
        "version": VERSION,
        "operation": operation,
        "config_dir": target.config_dir,
        "runtime_config_dir": target.runtime_config_dir,
        "owner": list(target.owner),
        "lock_timeout": target.lock_timeout,
        "max_plugin_bytes": target.max_bytes,
    }


def _require_push_tier(facts: Mapping[str, Any]) -> None:
    tier = facts.get("tier")
    if tier == "external":
        hint = facts.get("download_hint") or "download the plugins there"
        raise InvalidInputError(f"this workspace is external and fetches its plugins itself, so nothing is pushed: {hint}")
    if tier == "none":
        raise InvalidInputError(f"this workspace cannot be reached: {facts.get('reason') or 'no container and no EC2 instance was found for it'}")
