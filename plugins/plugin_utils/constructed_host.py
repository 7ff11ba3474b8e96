# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``compose``, ``groups`` and ``keyed_groups`` make of one host, written down before anything of it is in the inventory.

ansible-core's helpers for these options act at once and by name, and its ``InventoryData`` takes a name for a group's where there is a group of that name.
So they are given one of these in the inventory's place: all groups are known before a host gets its name, and a name is never looked up.
"""
from __future__ import annotations

import dataclasses
import typing as t

from ansible.inventory.group import Group
from ansible.inventory.host import Host


class HostName(str):
    """The name that the helpers are given, which no name of a group can be mistaken for."""


@dataclasses.dataclass
class ConstructedHost:
    """What the options make of the host ``name``, to be done to the inventory later.

    ``variables``: the composed ones. ``groups``: the names of its groups, in order. ``children``: pairs of a group and a group in it.
    """

    name: str
    variables: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    groups: list[str] = dataclasses.field(default_factory=list)
    children: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def group_names(self) -> set[str]:
        """All groups that there will be for this host."""
        return {*self.groups, *(group for pair in self.children for group in pair)}


class OneHostInventory:
    """The part of ``InventoryData`` that the helpers use, with one host, written down in ``made``."""

    def __init__(self, name: str, variables: t.Mapping[str, t.Any], groups: t.Iterable[str], known: dict[str, Group]) -> None:
        """``variables`` and ``groups``: what the host has whatever the options say. ``known``: groups by name, to be given for each host of an inventory."""
        self.made = ConstructedHost(name)
        self.name = HostName(name)
        self._known = known
        self._host = Host(name, gen_uuid=False)
        self._host.vars = dict(variables)
        for group in groups:
            self._enter(self.add_group(group))

    def get_host(self, _name: str) -> Host:
        """The host with its variables, the composed and the magic ones among them."""
        return self._host

    def set_variable(self, _name: str, key: str, value: t.Any) -> None:
        """Note a composed variable."""
        self.made.variables[key] = value
        self._host.set_variable(key, value)

    def add_group(self, name: str) -> str:
        """The name that the group really gets."""
        if name not in self._known:
            group = Group(name)
            self._known[name] = self._known.setdefault(group.name, group)
        return str(self._known[name].name)

    def add_host(self, _name: str, group: str) -> None:
        """Note that the host is in ``group``."""
        self.made.groups.append(group)
        self._enter(group)

    def add_child(self, group: str, child: str) -> None:
        """Note that ``child``, the host or a group, is in ``group``."""
        group = self.add_group(group)
        if isinstance(child, HostName):
            self.add_host(child, group)
        else:
            self.made.children.append((group, child))

    def _enter(self, group: str) -> None:
        if self._known[group] not in self._host.groups:
            self._host.groups.append(self._known[group])
