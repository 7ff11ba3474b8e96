# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shipments that are sent piece by piece, and what is left of those whose senders have ended."""
from __future__ import annotations

import io
import os
import pathlib
import time

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError, WorkspaceError
from plugin_samples import OWNER, V1, V2, Workspace, contents, shipment


def everything(workspace: Workspace):
    return contents(workspace.config)


def test_what_killed_runs_have_sent_does_not_pile_up(installed):
    incoming = installed.state / "incoming"
    incoming.mkdir(mode=0o700)
    for name, age_in_days in (("1" * 32, 3), ("2" * 32, 1)):
        (incoming / name).write_bytes(b"x")
        then = time.time() - age_in_days * 86400
        os.utime(incoming / name, (then, then))
    installed.inspect({"ecc": V2})
    assert len(os.listdir(incoming)) == 2
    installed.apply({"ecc": V2})
    assert os.listdir(incoming) == ["2" * 32]


SENDERS = [f"{'a' * 16}-{number}-7-{'5' * 32}" for number in (1, 2)]


def test_a_transfer_whose_sender_has_ended_is_removed_and_others_are_not(installed):
    for transfer in (*SENDERS, "5" * 32):
        receive(installed, transfer=transfer)
    (installed.state / "incoming" / "something else").write_bytes(b"x")
    assert installed.inspect({})["transfers"] == SENDERS
    answer = installed.apply({}, abandoned_transfers=SENDERS[:1])
    assert (answer["plugins"], answer["recovered"]) == ({}, [])
    assert installed.inspect({})["transfers"] == SENDERS[1:]
    assert sorted(os.listdir(installed.state / "incoming")) == ["5" * 32, SENDERS[1], "something else"]
    installed.apply({}, abandoned_transfers=SENDERS)
    assert installed.inspect({})["transfers"] == []


@pytest.mark.parametrize("abandoned", ["x", [1], ["../lock"], ["lock"], [None], {"a": 1}, ["5" * 32] * 1001])
def test_only_transfers_can_be_removed_as_abandoned(installed, abandoned):
    before = everything(installed)
    with pytest.raises(InvalidInputError, match="abandoned_transfers|32 hexadecimal"):
        installed.handle("apply", plugins=[], abandoned_transfers=abandoned)
    assert everything(installed) == before


def receive(workspace, piece=b"xxx", **fields):
    request = {"version": 1, "operation": "receive", "config_dir": str(workspace.config), "owner": OWNER, "transfer": "4" * 32, "offset": 0, **fields}
    return plugin_request.handle(request, None if piece is None else io.BytesIO(piece))


def send(workspace, *trees, transfer="3" * 32):
    content = pathlib.Path(shipment(workspace.directory / "sent.tar", *trees)).read_bytes()
    for start in range(0, len(content), 4000):
        answer = receive(workspace, content[start:start + 4000], transfer=transfer, offset=start)
    assert answer == {"size": len(content)}
    return transfer


def test_what_is_sent_piece_by_piece_is_installed_and_gone(workspace):
    assert workspace.apply({"ecc": V1}, shipment=send(workspace, V1))["plugins"]["ecc"]["changed"] is True
    assert os.listdir(workspace.state / "incoming") == []
    with pytest.raises(WorkspaceError, match="not there any more"):
        workspace.apply({"ecc": V2}, shipment="3" * 32)


def test_a_failed_apply_leaves_nothing_of_what_was_sent(installed):
    with pytest.raises(WorkspaceError, match="was not sent"):
        installed.apply({"ecc": V2}, shipment=send(installed, V1))
    assert os.listdir(installed.state / "incoming") == []


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"transfer": "../../../../etc/cron.d/x"}, "32 hexadecimal"),
        ({"transfer": None}, "32 hexadecimal"),
        ({"offset": -1}, "offset"),
        ({"piece": None}, "no piece attached"),
        ({"offset": 5}, "cannot take in"),
    ],
)
def test_bad_pieces_are_refused(workspace, fields, message):
    with pytest.raises(WorkspaceError, match=message):
        receive(workspace, **fields)


def test_a_lost_or_repeated_piece_is_noticed(workspace):
    receive(workspace)
    for offset in (0, 1, 4):
        with pytest.raises(WorkspaceError, match="was lost|File exists|No such file"):
            receive(workspace, offset=offset)
        assert os.listdir(workspace.state / "incoming") == []
        receive(workspace)
