# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The errors that users see: one actionable sentence each (what, where, what to do).

Adapters (modules, actions, connections) turn them into their own kind of failure and add nothing.
"""
from __future__ import annotations


class WorkspaceError(Exception):
    """Something a person can act on; ``str(error)`` is the whole sentence."""


class InvalidInputError(WorkspaceError):
    """The user's input is refused; nothing was touched."""


class ConflictError(WorkspaceError):
    """The workspace changed between inspect and apply; nothing was overwritten."""


class TooLargeError(WorkspaceError):
    """A tree on the workspace holds more than is ever described of one."""


class BusyError(WorkspaceError):
    """Another writer held the workspace's lock for longer than the wait that was allowed."""
