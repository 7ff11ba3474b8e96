# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection plugins are read once per run, in the main process, and only there."""
from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.module_utils.common.collections import ImmutableDict
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import preload


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the plugins that are read, in order; nothing was read before."""
    names: list[str] = []
    monkeypatch.setattr(preload, "_known", set())
    monkeypatch.setattr(preload.connection_loader, "get", lambda name, class_only: names.append(name))
    monkeypatch.setattr(preload.context, "CLIARGS", ImmutableDict(forks=5))
    return names


def test_each_is_read_once(read: list[str]) -> None:
    preload.connections(["b", "a"])
    preload.connections(["a", "c"])
    assert read == ["a", "b", "c"]


def test_what_an_inventory_has_said_is_enough(read: list[str]) -> None:
    preload.connections(["molecule_ai.workspace.eic"])
    preload.connections_of_tiers()
    assert read == ["molecule_ai.workspace.eic"]


def test_without_it_all_that_a_tier_may_need_are_read(read: list[str]) -> None:
    preload.connections_of_tiers()
    preload.connections_of_tiers()
    assert sorted(read) == ["ansible.builtin.ssh", "community.docker.docker_api", "molecule_ai.workspace.eic", "ssh"]


@pytest.mark.parametrize("arguments", [{}, {"forks": None}, {"forks": 1}])
def test_nothing_is_read_where_no_two_workers_run(read: list[str], monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> None:
    monkeypatch.setattr(preload.context, "CLIARGS", ImmutableDict(arguments))
    preload.connections_of_tiers()
    assert read == []


def test_a_worker_reads_nothing(read: list[str]) -> None:
    def look(answers: Any) -> None:
        preload.connections_of_tiers()
        answers.put(list(read))

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(target=look, args=(answers,))
    worker.start()
    assert answers.get(timeout=30) == []
    worker.join()


@pytest.mark.parametrize("error", [AnsibleError("broken"), ImportError("broken"), AttributeError("broken"), RuntimeError("broken"), SyntaxError("broken")])
def test_a_plugin_that_cannot_be_read_is_left_to_the_worker_that_needs_it(read: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def get(name: str, class_only: bool) -> None:
        read.append(name)
        raise error

    monkeypatch.setattr(preload.connection_loader, "get", get)
    preload.connections(["a", "b"])
    assert read == ["a", "b"]
