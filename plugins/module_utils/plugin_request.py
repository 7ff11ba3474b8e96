# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The entry of the workspace half: a request (plain data) in, a result (plain data) out, whatever carried the request here.

:func:`handle` knows six operations. All requests hold ``version`` (1), ``operation`` and ``config_dir``, and may hold

* ``runtime_config_dir``: the config dir as the runtime sees it (default: ``config_dir``),
* ``owner``: ``[uid, gid]`` of plugin files (default: 1000, 1000),
* ``lock_timeout``: seconds to wait for another writer (default 60), ``job``: a small dict that names this run to others,
* ``max_plugin_bytes``: what a new plugin may hold (default 100 MiB); live trees are read up to ten times of that and of the entries' limit.

``state`` of a plugin is ``present``, ``absent`` or ``rolled_back``: as it was before its last change of version (see ``previous_version``).

``inspect`` (read-only, no lock): ``plugins``: ``[{"name", "state", "digest" (present only)}]``, ``exclusive``: describe the unmanaged too,
``placements``: find what the runtime made of plugins that do not differ, too ::

    {"plugins": {name: {"exists": bool, "digest": str | None, "wrong_owner": [path], "entries": Entries | None, "receipt": receipt | None,
                        "receipt_problem": str | None, "placements": {"removed": [...], "kept": [...]} | None, "has_remains": bool,
                        "previous": {"digest": str | None, "entries": Entries | None, "source": str | None, "plugin_version": str | None,
                                     "rolled_back": bool, "problem": str | None} | None}},
     "unmanaged": [name], "other_files": [name], "restart_pending": [name], "interrupted": [name],
     "transfers": [transfer]}

``entries`` are given for what differs, unless it is to go and is larger than a tree may be, or has a name that no plugin can have; ``placements``
are what an upgrade or a removal would make of them. ``has_remains``: its directory is gone, though it was never removed. ``previous`` (for
``rolled_back`` only) is what the plugin will be; with ``rolled_back`` true it is that already, and ``problem`` says why it cannot. ``unmanaged`` holds
whatever lies in the ``plugins`` directory and is not named in the request, be its name a plugin's or not; ``other_files`` what of that the runtime
does not load, because it is neither a directory nor a link: ``exclusive`` does not describe it. ``exclusive`` does describe plugins with
``has_remains`` that nobody named. ``interrupted`` are the changes that ``apply`` would settle first, even one without plugins: an earlier run has not
finished them, or another one is making them right now. ``transfers`` are those on the workspace whose ids name their senders: who knows that one of
these has ended says so to ``apply``.

``read`` (read-only, no lock): ``files``: ``[{"plugin", "path", "previous": bool (of the previous version)}]``, ``max_bytes`` per file ->
``{"files": [{"plugin", "path", "previous", "text": str | None}]}``; None for what is gone, is no UTF-8 text, is no plain file or is larger.

``receive``: ``transfer`` (an id by the controller, see ``transfer_ids``), ``offset`` -> ``{"size": int}``: takes in an attached piece of a tar of bundles.

``apply``: ``plugins``: ``[{"name", "state", "digest", "observed_digest", "source", "plugin_version"}]``, ``shipment``: path of a tar of bundles, or
the transfer that brought it; None where it came attached or none is needed. With ``rolled_back``, ``digest`` is what inspect said of ``previous``.
``strays``: of the directories below ``plugins`` whose names no plugin can have, those to remove: ``[{"name", "observed_digest"}]`` as ``exclusive``
inspection named and found them; one that is not there any more is answered with ``changed`` false. ``abandoned_transfers``: ids of those to remove::

    {"plugins": {name: {"changed": bool, "previous_digest": str | None, "digest": str | None, "removed_placements": [...], "kept": [...]}},
     "restart_pending": [name], "recovered": [sentence], "recovered_placements": {name: {"removed": [...], "kept": [...]}}}

``recovered_placements``: what became of the placements of the versions that a run before had begun to replace or to remove.

``pending_restarts`` (no lock) -> ``{"restart_pending": {name: install_id}, "problems": [sentence]}``.

``confirm_restart``: ``install_ids``: ``{name: install_id}`` -> ``{"cleared": [name], "restart_pending": [name]}``: what was installed after the
restart began has another id and stays pending.
"""
from __future__ import annotations

import contextlib
import os
from typing import Any, BinaryIO, Callable, Collection, Mapping

from . import directory_files, placements, plugin_store, previous_version, receipts, safe_files, stray_directories, transfer_ids, transfers
from .errors import InvalidInputError, WorkspaceError
from .names import is_plugin_name, validate_plugin_name
from .plugin_slot import leftovers, open_other_plugins, open_plugin
from .plugin_tree import Entries, Owner
from .printable import printable
from .request_fields import Request, check_digest, check_path, optional_text
from .workspace_directories import PLUGINS, WorkspaceDirectories, open_for_reading, open_for_writing
from .workspace_lock import writer_lock

_WRITING_OPERATIONS = frozenset(("receive", "apply", "confirm_restart"))

_MAX_FILES = 10000
# An answer is held in memory, here and on the controller.
_MAX_DESCRIBED = 200000
_MAX_READ_BYTES = 10 * 1024 * 1024


def changes(request: Mapping[str, Any]) -> bool:
    """Tell whether ``request`` may change the workspace, so that check mode must not send it."""
    return request.get("operation") in _WRITING_OPERATIONS


def handle(request: Mapping[str, Any], attached: BinaryIO | None = None) -> dict[str, Any]:
    """Do what ``request`` says. Raises :class:`WorkspaceError`, and :class:`InvalidInputError` before anything was touched.

    ``attached`` is the shipment itself, where it came with the request and lies in no file.
    """
    checked = Request(request, _FIELDS, attached)
    operation = _OPERATIONS[checked.operation]
    try:
        return operation(checked)
    except OSError as error:
        where = f"{printable(error.filename)}: " if isinstance(error.filename, str) else ""
        raise WorkspaceError(f"{checked.operation} in {checked.config_dir} on the workspace failed: {where}{error.strerror}") from error


def _inspect(request: Request) -> dict[str, Any]:
    elements = request.plugins(("name", "state", "digest"))
    wanted = {element["name"]: element.get("digest") for element in elements}
    rolled_back = frozenset(element["name"] for element in elements if element["state"] == "rolled_back")
    exclusive = request.get("exclusive") or False
    if not isinstance(exclusive, bool) or not isinstance(request.get("placements") or False, bool):
        raise InvalidInputError("exclusive and placements must be true or false")
    with open_for_reading(request.config_dir) as directories:
        unmanaged = [name for name in directories.plugin_names() if name not in wanted]
        loaded = [name for name in unmanaged if stray_directories.is_loaded(directories.plugins_fd, name)]
        if exclusive:
            unnamed = [*(name for name in loaded if is_plugin_name(name)), *plugin_store.remains(directories)]
            wanted.update({name: None for name in sorted(unnamed) if name not in wanted})
        plugins: dict[str, Any] = {}
        # In the order in which apply changes them.
        changing: list[str] = []
        described = 0
        for name, digest in wanted.items():
            plugins[name], changes_now = _inspect_plugin(request, directories, name, digest, name in rolled_back, changing)
            changing += [name] if changes_now else []
            described += len(plugins[name]["entries"] or ())
            if described > _MAX_DESCRIBED:
                raise WorkspaceError(
                    f"{request.config_dir}/{PLUGINS} differs in more than {_MAX_DESCRIBED} files and directories (counted up to plugin '{name}'): "
                    "remove what does not belong there, or name fewer plugins in a task"
                )
        if exclusive:
            for name in stray_directories.find(directories):
                plugins[printable(name)] = _inspect_stray(request, directories, name, changing)
                changing.append(name)
        return {
            "plugins": plugins,
            "unmanaged": [printable(name) for name in unmanaged],
            "other_files": [printable(name) for name in unmanaged if name not in loaded],
            "restart_pending": sorted(_pending(directories)),
            "interrupted": [printable(name) for name in leftovers(directories.staging_fd)],
            "transfers": transfers.with_senders(directories.state_fd) if directories.state_fd is not None else [],
        }


def _inspect_plugin(
    request: Request, directories: WorkspaceDirectories, name: str, wanted: str | None, rolled_back: bool, changed_before: Collection[str]
) -> tuple[dict[str, Any], bool]:
    """Describe one plugin, and tell whether apply would change it, after those that it would have ``changed_before``."""
    receipt = receipts.read(directories.receipts_fd, name)
    previous = previous_version.find(directories, name, request.live_limits) if rolled_back else None
    is_settled = previous is not None and (previous.problem is not None or (previous.record is not None and previous.record.rolled_back))
    wanted = previous.digest if previous is not None else wanted
    live = plugin_store.observe_live(directories, name, request.owner, request.live_limits, any_size=wanted is None)
    tree = live.tree if live else None
    digest = live.digest if live else None
    if is_settled:
        wanted = digest
    has_remains = live is None and plugin_store.has_remains(directories, name)
    differs = digest != wanted or bool(tree and tree.wrong_owner) or (has_remains and wanted is None)
    return {
        "exists": live is not None,
        "digest": digest,
        "wrong_owner": [printable(path) for path in tree.wrong_owner] if tree else [],
        "entries": _printable_entries(tree.entries) if tree and differs else None,
        "receipt": receipt.receipt,
        "receipt_problem": receipt.problem,
        "placements": _predict_placements(request, directories, name, changed_before) if differs or request.get("placements") else None,
        "has_remains": has_remains,
        "previous": _describe_previous(previous) if previous is not None else None,
    }, differs and not is_settled


def _inspect_stray(request: Request, directories: WorkspaceDirectories, name: str, changed_before: Collection[str]) -> dict[str, Any]:
    """As :func:`_inspect_plugin`, for a directory whose name no plugin can have: it has no receipt."""
    live = plugin_store.observe_live(directories, name, request.owner, request.live_limits, any_size=True)
    return {
        "exists": live is not None,
        "digest": live.digest if live else None,
        "wrong_owner": [],
        "entries": None,
        "receipt": None,
        "receipt_problem": None,
        "placements": stray_directories.predict(directories, name, request.claude_directories, changed_before) if live else None,
        "has_remains": False,
        "previous": None,
    }


def _describe_previous(previous: previous_version.PreviousVersion) -> dict[str, Any]:
    receipt = previous.record.receipt if previous.record is not None else None
    return {
        "digest": previous.digest,
        "entries": _printable_entries(previous.entries) if previous.entries is not None else None,
        "source": receipt["source"] if receipt is not None else None,
        "plugin_version": receipt["plugin_version"] if receipt is not None else None,
        "rolled_back": previous.record is not None and previous.record.rolled_back,
        "problem": previous.problem,
    }


def _predict_placements(request: Request, directories: WorkspaceDirectories, name: str, changed_before: Collection[str]) -> dict[str, Any] | None:
    """What changing the plugin would make of the present version's placements; None when no version is known."""
    with contextlib.ExitStack() as stack:
        live_fd = open_plugin(directories.plugins_fd, name, stack)
        installed_fd = open_plugin(directories.installed_fd, name, stack)
        if live_fd is None and installed_fd is None:
            return None
        return placements.find_and_remove(
            directories.config_fd,
            live_fd,
            name,
            request.claude_directories,
            None,
            installed_plugin_fd=installed_fd,
            other_plugin_fds=open_other_plugins(directories.plugins_fd, [name, *changed_before], stack) if directories.plugins_fd is not None else {},
            dry_run=True,
        )


def _read(request: Request) -> dict[str, Any]:
    files = request.elements("files", ("plugin", "path", "previous"), _MAX_FILES)
    max_bytes = request.integer("max_bytes", 0, 0, _MAX_READ_BYTES)
    for file in files:
        validate_plugin_name(file.get("plugin"))
        check_path(file.get("path"))
        if not isinstance(file.get("previous", False), bool):
            raise InvalidInputError("previous of a file must be true or false")
    with open_for_reading(request.config_dir) as directories:
        texts = []
        for file in files:
            trees_fd = directories.previous_fd if file.get("previous") else directories.plugins_fd
            texts.append(dict(file, text=_read_text(directories, trees_fd, file, max_bytes, request.owner)))
        return {"files": texts}


def _read_text(directories: WorkspaceDirectories, trees_fd: int | None, file: Mapping[str, Any], max_bytes: int, owner: Owner) -> str | None:
    parts = [file["plugin"], *file["path"].split("/")]
    label = f"{directories.plugin_label(file['plugin'])}/{file['path']}"
    with contextlib.ExitStack() as stack:
        directory_fd = trees_fd
        try:
            for part in parts[:-1]:
                if directory_fd is None:
                    return None
                directory_fd = directory_files.open_directory(directory_fd, part, label)
                if directory_fd is not None:
                    stack.callback(os.close, directory_fd)
            opened = directory_files.read_file(directory_fd, parts[-1], label, max_bytes) if directory_fd is not None else None
        except directory_files.LeaveAlone:
            return None
    if opened is None or b"\0" in opened.content or not safe_files.agent_may_read(opened.status, owner[0]):
        return None
    try:
        return opened.content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _apply(request: Request) -> dict[str, Any]:
    elements = request.plugins(("name", "state", "digest", "observed_digest", "source", "plugin_version"))
    changes: list[plugin_store.Change] = []
    for element in elements:
        if element.get("observed_digest") is not None:
            check_digest(element["observed_digest"], f"observed_digest of plugin '{element['name']}'")
        texts = [optional_text(element, field) for field in ("source", "plugin_version")]
        is_rollback = element["state"] == "rolled_back"
        changes.append(plugin_store.Change(element["name"], element.get("digest"), element.get("observed_digest"), texts[0], texts[1], is_rollback))
    shipment = request.get("shipment")
    path = shipment if isinstance(shipment, str) and shipment.startswith("/") and "\0" not in shipment else None
    transfer = transfer_ids.validate(shipment) if shipment is not None and path is None else None
    settings = plugin_store.Settings(request.owner, request.claude_directories, request.job, request.limits, request.live_limits)
    strays = {element["name"]: element["observed_digest"] for element in _strays(request)}
    abandoned = [transfer_ids.validate(transfer) for transfer in request.texts("abandoned_transfers", transfers.MAX_NAMES)]
    with contextlib.ExitStack() as stack:
        directories = stack.enter_context(open_for_writing(request.config_dir, request.owner))
        sent: str | BinaryIO | None = path or request.attached
        if transfer is not None:
            sent = stack.enter_context(transfers.received(_state_fd(request, directories), transfer))
        stack.enter_context(_locked(request, directories))
        transfers.remove_abandoned(_state_fd(request, directories), abandoned)
        chosen = stray_directories.choose(directories, strays, request.owner, request.live_limits)
        result = plugin_store.apply(directories, changes, sent, settings)
        changed = [name for name, done in result["plugins"].items() if done["changed"]]
        removed = stray_directories.remove(directories, chosen, changed, request.claude_directories, request.job)
        for name in strays:
            outcome = removed.get(name, {"removed": [], "kept": []})
            done = {"changed": name in removed, "previous_digest": strays[name] if name in removed else None, "digest": None}
            result["plugins"][name] = dict(done, removed_placements=outcome["removed"], kept=outcome["kept"])
        result["restart_pending"] = sorted(_pending(directories))
        return result


def _strays(request: Request) -> list[Mapping[str, Any]]:
    if request.get("strays") is None:
        return []
    strays = request.elements("strays", ("name", "observed_digest"), _MAX_FILES)
    for stray in strays:
        if not isinstance(stray.get("name"), str) or is_plugin_name(stray["name"]):
            raise InvalidInputError(f"name {stray.get('name')!r} of an element of strays must be a text that can name no plugin")
        check_digest(stray.get("observed_digest"), f"observed_digest of '{printable(stray['name'])}'")
    return strays


def _receive(request: Request) -> dict[str, Any]:
    transfer = transfer_ids.validate(request.get("transfer"))
    offset = request.integer("offset", 0, 0, 2**50)
    if request.attached is None:
        raise InvalidInputError("there is no piece attached to the request")
    piece = request.attached.read()
    with open_for_writing(request.config_dir, request.owner) as directories:
        return {"size": transfers.receive(_state_fd(request, directories), transfer, offset, piece, request.config_dir)}


def _pending_restarts(request: Request) -> dict[str, Any]:
    with open_for_reading(request.config_dir) as directories:
        problems = [found.problem for found in receipts.read_all(directories.receipts_fd).values() if found.problem]
        return {"restart_pending": _pending(directories), "problems": problems}


def _confirm_restart(request: Request) -> dict[str, Any]:
    install_ids = request.get("install_ids")
    if not isinstance(install_ids, dict):
        raise InvalidInputError("install_ids must be a dictionary from plugin name to install id")
    for name, install_id in install_ids.items():
        validate_plugin_name(name)
        if not isinstance(install_id, str) or not receipts.INSTALL_ID.fullmatch(install_id):
            raise InvalidInputError(f"install id {install_id!r} of plugin '{name}' must be 32 hexadecimal digits")
    cleared: list[str] = []
    with open_for_reading(request.config_dir) as directories:
        receipts_fd = directories.receipts_fd
        if receipts_fd is None:
            return {"cleared": [], "restart_pending": []}
        with _locked(request, directories):
            for name, found in receipts.read_all(receipts_fd).items():
                if _clear(receipts_fd, found.receipt, install_ids.get(name)):
                    cleared.append(name)
        return {"cleared": cleared, "restart_pending": sorted(_pending(directories))}


def _clear(receipts_fd: int, receipt: receipts.Receipt | None, install_id: str | None) -> bool:
    """Note in the receipt that the runtime was restarted for this install; False when it is about another one."""
    if receipt is None or not receipt["restart_pending"] or receipt["install_id"] != install_id:
        return False
    if receipt["state"] == "absent":
        receipts.remove(receipts_fd, receipt["name"])
    else:
        receipts.write(receipts_fd, dict(receipt, restart_pending=False))
    return True


def _state_fd(request: Request, directories: WorkspaceDirectories) -> int:
    if directories.state_fd is None:
        raise WorkspaceError(f"{request.config_dir}/.molecule_ai is missing: run again")
    return directories.state_fd


def _locked(request: Request, directories: WorkspaceDirectories) -> contextlib.AbstractContextManager[None]:
    return writer_lock(_state_fd(request, directories), request.job, request.lock_timeout, request.config_dir)


def _pending(directories: WorkspaceDirectories) -> dict[str, str]:
    """The install ids of the plugins for which the runtime has to be restarted."""
    return {
        name: found.receipt["install_id"]
        for name, found in receipts.read_all(directories.receipts_fd).items()
        if found.receipt and found.receipt["restart_pending"]
    }


def _printable_entries(entries: Entries) -> Entries:
    return {printable(path): dict(item, target=printable(item["target"])) for path, item in entries.items()}


_OPERATIONS: dict[str, Callable[[Request], dict[str, Any]]] = {
    "inspect": _inspect,
    "read": _read,
    "receive": _receive,
    "apply": _apply,
    "pending_restarts": _pending_restarts,
    "confirm_restart": _confirm_restart,
}
_FIELDS: dict[str, frozenset[str]] = {
    "inspect": frozenset(("plugins", "exclusive", "placements")),
    "read": frozenset(("files", "max_bytes")),
    "receive": frozenset(("transfer", "offset")),
    "apply": frozenset(("plugins", "shipment", "strays", "abandoned_transfers")),
    "pending_restarts": frozenset(),
    "confirm_restart": frozenset(("install_ids",)),
}
