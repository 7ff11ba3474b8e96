# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half of ``molecule_plugin``: prepare the sources, ask the workspace, and send only what drifted.

A workspace on which nothing is to be done costs one remote execution; otherwise it is inspect and apply, which takes the bundles along.
"""
from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from pathlib import Path
from typing import Any, Mapping, Sequence

from ansible import constants as C
from ansible.errors import AnsibleError, AnsibleFileNotFound

from ..module_utils import transfer_ids
from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.plugin_options import ARGUMENT_SPEC, MUTUALLY_EXCLUSIVE, REQUIRED_BY, REQUIRED_ONE_OF
from ..module_utils.plugin_tree import Limits
from ..module_utils.transfers import MAX_NAMES
from ..plugin_utils import allowlist, bundle, manifest, plugin_plan, processes, secret_scan, task_data, this_run, workspace_answer
from ..plugin_utils.allowlist import Allowlist
from ..plugin_utils.controller_action import ControllerAction
from ..plugin_utils.drift_report import DiffReport, recovered_results, result_of
from ..plugin_utils.local_files import find_elsewhere
from ..plugin_utils.platform_api import PlatformOptions
from ..plugin_utils.plugin_plan import PluginPlan, Target, WantedPlugin
from ..plugin_utils.prepared_plugin import PreparedPlugin, prepare
from ..plugin_utils.run_cache import RunCache, cache_key
from ..plugin_utils.signatures import Signers, read_signers
from ..plugin_utils.sources import SourceSettings, parse_source
from ..plugin_utils.task_data import plain, user_name
from ..plugin_utils.workspace_answer import Application, Inspection
from ..plugin_utils.workspace_call import MAX_ATTACHED_BYTES, WorkspaceCall, repeated

_MODULE = "molecule_ai.workspace.molecule_plugin"
_SHIPMENT = "shipment.tar"
_NO_SCANNER = (
    "plugins are not looked through for secrets, because the Python package detect-secrets is not installed on the controller: install it, or set "
    "secret_scan to none"
)
_STARTED_OVER = (
    "the workspace was restarted, or the connection to it was lost, while the task was at work there: the task has begun anew, after a look at how far it came"
)
_FULL = "no space left on device"
_TARGET_VARIABLES = ("workspace_config_dir", "workspace_runtime_config_dir", "workspace_runtime")


class ActionModule(ControllerAction):
    """Keep a workspace's plugins in the state that the task describes."""

    def answer(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """Return what was found, done and is to be restarted."""
        self._task_vars = task_vars
        self._warnings: list[Any] = []
        self._cache = RunCache.of_run()
        self._call = WorkspaceCall(self, self._task_vars, self._cache)
        try:
            return self._run()
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _run(self) -> dict[str, Any]:
        options = self._options()
        wanted = plugin_plan.wanted_plugins(options, [name for name, value in self._task.args.items() if value is not None])
        backend = task_data.backend_fact(self._task_vars, self._templar.template)
        variables = {name: task_data.variable(name, self._task_vars, self._templar.template) for name in _TARGET_VARIABLES}
        target = plugin_plan.target_of(options, backend, variables)
        prepared = self._prepare(wanted, options, target)
        self._sent: dict[str, PluginPlan] = {}
        self._recoveries: list[Application] = []
        warnings = list(self._warnings)

        def start_over() -> None:
            warnings[len(warnings):] = [_STARTED_OVER] if _STARTED_OVER not in warnings else []
            self._warnings = list(warnings)
            # What was transferred may have gone with the container's temporary files.
            with contextlib.suppress(AnsibleError):
                self._remove_tmp_path(self._connection._shell.tmpdir)
            self._connection._shell.tmpdir = None

        try:
            return repeated(lambda: self._converge(wanted, prepared, target, options), start_over)
        except WorkspaceError as error:
            recovered = recovered_results(self._recoveries)["recovered"]
            if not recovered:
                raise
            raise WorkspaceError(f"{error}; before that, the task had {' and '.join(recovered)}") from error

    def _converge(
        self, wanted: Sequence[WantedPlugin], prepared: Mapping[str, PreparedPlugin], target: Target, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Look, and do what is to be done. May be begun anew when an answer was lost: to look changes nothing, and what had been begun is settled first."""
        sent = dict(self._sent)
        plans, inspection = self._inspect(wanted, prepared, target, options)
        predicts_recovery = bool(inspection.interrupted) and self._task.check_mode
        if predicts_recovery:
            names = ", ".join(inspection.interrupted)
            self._warnings.append(f"an interrupted run has left a change of {names}: a run without check mode finishes or discards it first")
        elif inspection.interrupted:
            # Recovery may finish or take back an exchange, so what was observed before it is no precondition for anything. Another run that is at work
            # looks the same, and once it is done there is nothing to recover.
            self._recoveries.append(self._apply([], target)[0])
            plans, inspection = self._inspect(wanted, prepared, target, options)
        self._warnings += [observed.receipt_problem for observed in inspection.plugins.values() if observed.receipt_problem]
        problems = [plan.problem for plan in plans if plan.problem is not None]
        if problems and not predicts_recovery:
            raise WorkspaceError(f"{problems[0]}; nothing was changed")
        self._warnings += problems
        to_do = [plan for plan in plans if plan.action != "none"]
        diff = self._diff(to_do, target, _scans(options)) if self._task.diff and not self._task.no_log else []

        application, transferred = None, 0
        if to_do and not self._task.check_mode:
            application, transferred = self._apply(to_do, target)
        elif self._abandoned and not self._task.check_mode:
            application = self._clean(target)
        plans, application = plugin_plan.with_sent(plans, application, sent)
        recovered = recovered_results([*self._recoveries, *([application] if application is not None else [])])
        result = result_of(plans, inspection, application, predicts_recovery or bool(recovered["recovered"]), options["max_drift"])
        return {**result, **recovered, "transferred_bytes": transferred, **self._extras(diff)}

    def _options(self) -> dict[str, Any]:
        if "plugins" in self._task.args and self._task.args["plugins"] is None:
            raise InvalidInputError("plugins is null, as a key without a value is in YAML: give a list, or [] for no plugins")
        return self.parameters(
            ARGUMENT_SPEC, mutually_exclusive=MUTUALLY_EXCLUSIVE, required_one_of=REQUIRED_ONE_OF, required_by=REQUIRED_BY
        )

    def _prepare(self, wanted: Sequence[WantedPlugin], options: Mapping[str, Any], target: Target) -> dict[str, PreparedPlugin]:
        """Return what is to be present, by name, fetched and verified: any bad input fails here, before the workspace is asked anything."""
        limits = Limits(max_bytes=options["max_bytes"])
        registry = options["registry"]
        settings = SourceSettings(
            find=self._find,
            registry=self._find(registry, "registry") if registry else None,
            github_url=options["github_url"],
            timeout=options["source_timeout"],
            max_bytes=limits.max_bytes,
            max_entries=limits.max_entries,
            signers=self._signers(options),
        )
        unsigned = dataclasses.replace(settings, signers=None)
        present = [plugin for plugin in wanted if plugin.state == "present"]
        self._require_allowed([plugin.name for plugin in present], options)
        sources = [(plugin, parse_source(plugin.source or "", unsigned if plugin.allow_unsigned else settings, plugin.allow_unpinned)) for plugin in present]
        prepared = {}
        for plugin, source in sources:
            result = prepare(source, plugin.include_repository_files, limits, self._cache, scan=_scans(options))
            self._tell_secrets(result, options["secret_scan"])
            self._warnings += [*result.warnings, *result.warnings_for(plugin.name)]
            result.require_pins(plugin.name, plugin.digest, plugin.sha256, plugin.commit)
            if not plugin.any_runtime:
                manifest.require_supported_runtime(plugin.name, result.runtimes, target.runtime)
            prepared[plugin.name] = result
        return prepared

    def _tell_secrets(self, plugin: PreparedPlugin, mode: str) -> None:
        """Warn of, or fail for, what seems to be a secret in a plugin."""
        if mode == "fail":
            secret_scan.require_none(plugin.secret_scan, plugin.source)
        elif plugin.secret_scan is not None:
            self._warnings += plugin.secret_scan.warnings(plugin.source)
        elif mode == "warn" and _NO_SCANNER not in self._warnings:
            self._warnings.append(_NO_SCANNER)

    def _require_allowed(self, names: Sequence[str], options: Mapping[str, Any]) -> None:
        """Refuse plugins that are going to run and are not on every list; a list that nobody needs is not read."""
        for allowed in self._allowlists(options) if names else []:
            for name in names:
                allowed.require(name)

    def _allowlists(self, options: Mapping[str, Any]) -> list[Allowlist]:
        """Return the lists that a plugin has to be on."""
        lists = [allowlist.from_names(options["allowlist"])]
        if options["allowlist_file"] is not None:
            lists.append(allowlist.from_file(Path(self._find(options["allowlist_file"], "allowlist_file"))))
        if options["allowlist_from_platform"]:
            lists.append(allowlist.from_platform(PlatformOptions.from_parameters(options), self._cache))
        return lists

    def _signers(self, options: Mapping[str, Any]) -> Signers | None:
        """Return whose signatures count, ``None`` if none is asked for."""
        if options["allowed_signers"] is None:
            return None
        revoked = options["revoked_signers"]
        return read_signers(
            self._find(options["allowed_signers"], "allowed_signers"), self._find(revoked, "revoked_signers") if revoked is not None else None
        )

    def _find(self, path: str, what: str = "source") -> str:
        """Return the absolute path of a file or directory on the controller; raise :class:`InvalidInputError` with the places that were looked at."""
        try:
            return str(Path(str(plain(self._find_needle("files", path)))).absolute())
        except AnsibleFileNotFound as error:
            inventory_dir = plain(self._task_vars.get("inventory_dir"))
            return find_elsewhere(path, what, [str(place) for place in error.paths or []], inventory_dir)

    def _inspect(
        self, wanted: Sequence[WantedPlugin], prepared: Mapping[str, PreparedPlugin], target: Target, options: Mapping[str, Any]
    ) -> tuple[list[PluginPlan], Inspection]:
        digests = {name: plugin.digest for name, plugin in prepared.items()}
        answer = self._ask(plugin_plan.inspect_request(target, wanted, digests, options["exclusive"], options["placements"]))
        inspection = workspace_answer.parse_inspection(answer, [plugin.name for plugin in wanted])
        # Each process sends for itself: whose has ended will never be used.
        self._abandoned = [transfer for transfer in inspection.transfers if processes.is_over(transfer_ids.sender_of(transfer))][:MAX_NAMES]
        plans = [
            plugin_plan.plan_plugin(plugin, prepared.get(plugin.name), inspection.plugins[plugin.name], target, options["placements"])
            for plugin in wanted
        ]
        moved = (plugin_plan.warn_of_moved_tag(plugin, plan) for plugin, plan in zip(wanted, plans))
        self._warnings += [warning for warning in moved if warning and warning not in self._warnings]
        # Only now is it known which rollbacks bring something back, and which only remove what was installed first.
        self._require_allowed([plan.name for plan in plans if plan.action == "rolled_back" and plan.digest is not None], options)
        if options["exclusive"]:
            plans += [plugin_plan.plan_unmanaged(name, observed) for name, observed in inspection.others.items()]
        return plans, inspection

    def _diff(self, plans: Sequence[PluginPlan], target: Target, scans: bool) -> list[dict[str, str]]:
        report = DiffReport(plans, C.MAX_FILE_SIZE_FOR_DIFF, secret_scan.text_scanner() if scans else None)
        files = report.wanted_texts()
        texts: dict[tuple[str, str, bool], str | None] = {}
        if files:
            texts = workspace_answer.parse_texts(self._ask(plugin_plan.read_request(target, files, report.max_bytes)))
        return report.render(texts)

    def _apply(self, plans: Sequence[PluginPlan], target: Target) -> tuple[Application, int]:
        """Carry out ``plans`` and return what was done and the number of bytes that were sent."""
        shipment = self._shipment(plugin_plan.needed_bundles(plans))
        size = shipment.stat().st_size if shipment else 0
        attached = shipment.read_bytes() if shipment and self._call.carries and size <= MAX_ATTACHED_BYTES else b""
        remote = None
        if shipment and not attached:
            remote = self._send_in_pieces(shipment, target) if self._call.carries else self._send(shipment)
        self._sent.update({plan.name: plan for plan in plans})
        answer = self._ask(plugin_plan.apply_request(target, plans, remote, self._job(), self._abandoned), attached)
        application = workspace_answer.parse_application(answer, [plan.name for plan in plans])
        for plan in plans:
            if application.plugins[plan.name].digest != plan.digest:
                raise WorkspaceError(f"plugin {plan.name} is not what it should be: look at what else writes to {target.config_dir}, and run again")
        return application, size

    def _clean(self, target: Target) -> Application | None:
        """Remove what killed runs have sent, where there is nothing else to do: a workspace that refuses that now is worth a warning only."""
        try:
            return self._apply([], target)[0]
        except WorkspaceError as error:
            self._warnings.append(f"what a killed run has sent was not removed: {error}")
            return None

    def _shipment(self, plugins: Mapping[str, PreparedPlugin]) -> Path | None:
        """Return one file with exactly these bundles, made once per run for all hosts that need the same; None for none."""
        if not plugins:
            return None
        bundles = {digest: plugin.bundle for digest, plugin in plugins.items()}
        key = cache_key("shipment", {"digests": sorted(bundles)})
        return self._cache.once(key, lambda directory: bundle.write_shipment(bundles, directory / _SHIPMENT)) / _SHIPMENT

    def _send_in_pieces(self, shipment: Path, target: Target) -> str:
        """Transfer the file attached to requests, and return the transfer's id: no path on the workspace is used."""
        transfer, size = transfer_ids.make(processes.name_of(os.getpid())), 0
        with shipment.open("rb") as file:
            while piece := file.read(MAX_ATTACHED_BYTES):
                answer = self._ask(plugin_plan.receive_request(target, transfer, size), piece)
                size += len(piece)
                if workspace_answer.parse_size(answer) != size:
                    raise WorkspaceError(f"what is sent does not arrive in {target.config_dir}/.molecule_ai: nothing was changed, run again")
        return transfer

    def _send(self, shipment: Path) -> str:
        """Transfer the file and return its remote path."""
        this_run.require_alive()
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = str(self._connection._shell.join_path(self._connection._shell.tmpdir, shipment.name))
        try:
            self._transfer_file(str(shipment), remote)
        except AnsibleError as error:
            # Docker's connection takes this for a workspace that cannot be reached, which sends people looking in the wrong place.
            if _FULL not in str(error).lower():
                raise
            raise WorkspaceError(
                f"the workspace has no space left for the {shipment.stat().st_size} bytes of the plugins in {os.path.dirname(remote)}: "
                "nothing was changed; make room and run again"
            ) from error
        self._fixup_perms2((self._connection._shell.tmpdir, remote), execute=False)
        return remote

    def _ask(self, request: dict[str, Any], attached: bytes = b"") -> object:
        """Run the workspace half once; raise ``WorkspaceError`` with its sentence when it fails."""
        return self._call.ask(_MODULE, "plugin_request", request, attached)

    def _job(self) -> dict[str, str]:
        """Say in the receipt who did it."""
        facts = {
            "play": self._task_vars.get("ansible_play_name"),
            "controller": socket.gethostname(),
            "user": user_name(),
            "awx_job_id": os.environ.get("JOB_ID") or self._task_vars.get("awx_job_id"),
        }
        return {name: plain(str(value)) for name, value in facts.items() if value}

    def _extras(self, diff: list[dict[str, str]]) -> dict[str, Any]:
        """Return what Ansible itself looks for in a result."""
        extras: dict[str, Any] = {}
        if diff:
            extras["diff"] = diff
        if self._warnings:
            extras["warnings"] = self._warnings
        if self._discovered_interpreter_key:
            extras["ansible_facts"] = {self._discovered_interpreter_key: self._discovered_interpreter}
        return extras


def _scans(options: Mapping[str, Any]) -> bool:
    """Whether plugins are looked through for secrets."""
    return options["secret_scan"] in ("warn", "fail")
