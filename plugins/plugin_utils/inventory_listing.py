# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads inventories as a playbook would: ``ansible-inventory`` in a process of its own.

Host names, Vault, ``ansible.cfg`` and collections are so those of the playbook, and a source that hangs can be ended.
"""
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import typing as t

from ..module_utils.errors import WorkspaceError

_MAX_DETAIL = 500


class ListingError(WorkspaceError):
    """The inventories could not be read; nothing is known of what they name."""


async def list_inventory(inventories: t.Sequence[str], *arguments: str, timeout: float | None = None) -> dict[str, t.Any]:
    """Return what ``ansible-inventory --list --export`` says of the inventories (as for ``-i``; none: Ansible's own default).

    ``--export`` leaves variables of groups with their groups, because a source that failed may have left no host. ``arguments`` are further ones.
    It ends after ``timeout`` seconds, and with the task that waits for it. Raises :class:`ListingError`.
    """
    program = _program()
    command = [program, "--list", "--export", *arguments, *(argument for each in inventories for argument in ("-i", each))]
    environment = {
        **os.environ,
        # an inventory that cannot be read is otherwise a warning, and a fleet without workspaces
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        # passing by the inventory's cache also empties that of facts, which is to be nobody's
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.memory",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        # what a user wants to see of other runs would be printed in front of the answer
        "ANSIBLE_VERBOSITY": "0",
        "ANSIBLE_DEBUG": "false",
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise ListingError(f"{program} does not start ({error.strerror}): check the installation of ansible-core") from error
    answering = asyncio.ensure_future(process.communicate())
    try:
        # Until Python 3.12, wait_for forgets a cancellation that comes together with the answer, and a watch would never end.
        await asyncio.wait([answering], timeout=timeout)
        if not answering.done():
            raise ListingError(f"the inventory has not answered within {timeout:g} s; raise timeout or look for the slow source")
        stdout, stderr = answering.result()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    if process.returncode != 0:
        raise ListingError(f"ansible-inventory failed: {_last_words(stderr)}")
    try:
        listing = json.loads(stdout)
    except (ValueError, RecursionError) as error:
        raise not_a_listing(error) from error
    if not isinstance(listing, dict):
        raise not_a_listing(f"it is a {type(listing).__name__}")
    return listing


def not_a_listing(why: object) -> ListingError:
    """Return the error for an answer that does not say what an inventory says."""
    return ListingError(f"ansible-inventory did not answer with an inventory ({why}): run it by hand with --list")


def _program() -> str:
    """The ``ansible-inventory`` beside this Python, else the one in PATH; raises :class:`ListingError`."""
    beside = os.path.join(os.path.dirname(sys.executable), "ansible-inventory")
    program = beside if os.access(beside, os.X_OK) else shutil.which("ansible-inventory")
    if not program:
        raise ListingError("there is no ansible-inventory in PATH; install ansible-core where this runs")
    return program


def _last_words(output: bytes) -> str:
    """What the program wrote last, on one line."""
    text = " ".join(line.strip() for line in output.decode(errors="replace").splitlines() if line.strip())
    return text[-_MAX_DETAIL:] or "it said nothing"
