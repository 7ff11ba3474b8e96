# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection's short action plugins have in common: they check options, ask one function, and fail with one sentence."""
from __future__ import annotations

import abc
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ..module_utils.errors import WorkspaceError
from . import preload, task_data


class ControllerAction(ActionBase):  # type: ignore[misc] # ansible-core has no types
    """An action whose work is done, or led, on the controller."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the task's result; every failure is one sentence."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        try:
            result.update(self.answer(task_vars or {}))
        except (WorkspaceError, AnsibleActionFail) as error:
            raise task_data.failure(error) from None
        except AnsibleConnectionFailure as error:
            raise task_data.unreachable(error) from None
        return result

    @abc.abstractmethod
    def answer(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return what this action adds to the result; raises :class:`WorkspaceError` and what Ansible raises."""

    def parameters(self, argument_spec: dict[str, dict[str, t.Any]], **rules: t.Any) -> dict[str, t.Any]:
        """Return the task's options, checked and in built-in types; ``rules`` are those of ``validate_argument_spec``."""
        _validation, validated = self.validate_argument_spec(argument_spec=argument_spec, **rules)
        checked: dict[str, t.Any] = task_data.plain(validated)
        return checked


# Once per run: all actions import this file.
preload.connections_of_tiers()
