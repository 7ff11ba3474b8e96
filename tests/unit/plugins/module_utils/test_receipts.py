# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Receipts survive, and a broken one is said to be broken."""
from __future__ import annotations

import json
import os
import pathlib

import jsonschema
import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import receipts

DIGEST = "sha256:" + "0" * 64


@pytest.fixture(name="directory")
def fixture_directory(tmp_path: pathlib.Path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def make(**changes):
    return dict(receipts.make("ecc", "present", DIGEST, "local://ecc", "1.0.0", {"id": "7"}), **changes)


def test_a_receipt_is_read_as_it_was_written(directory, tmp_path):
    receipt = make()
    receipts.write(directory, receipt)
    assert receipts.read(directory, "ecc") == (receipt, None)
    assert receipt["restart_pending"] is True
    assert (tmp_path / "ecc.json").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["ecc.json"]


def test_each_install_has_its_own_id():
    assert make()["install_id"] != make()["install_id"]


def test_no_receipt_is_no_problem(directory):
    assert receipts.read(directory, "ecc") == (None, None)
    assert receipts.read(None, "ecc") == (None, None)
    assert receipts.read_all(None) == {}


BROKEN = {
    "empty": b"",
    "not json": b"{",
    "not utf-8": b"\xff",
    "deep": b"[" * 50_000,
    "a list": b"[]",
    "another plugin's": json.dumps(make(name="other")).encode(),
    "no state": json.dumps({key: value for key, value in make().items() if key != "state"}).encode(),
    "one field more": json.dumps(make(more=1)).encode(),
    "unknown version": json.dumps(make(version=2)).encode(),
    "version is true": json.dumps(make(version=True)).encode(),
    "unknown state": json.dumps(make(state="gone")).encode(),
    "present without digest": json.dumps(make(digest=None)).encode(),
    "absent with digest": json.dumps(make(state="absent")).encode(),
    "pending as text": json.dumps(make(restart_pending="no")).encode(),
    "local time": json.dumps(make(installed_at="2026-01-01 00:00")).encode(),
    "short id": json.dumps(make(install_id="abc")).encode(),
    "job is text": json.dumps(make(job="7")).encode(),
    "huge": b" " * 70_000,
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_receipt_is_none_with_a_reason(directory, tmp_path, content):
    (tmp_path / "ecc.json").write_bytes(content)
    receipt, problem = receipts.read(directory, "ecc")
    assert receipt is None
    assert problem.startswith("the receipt ecc.json is ignored: it ") and "\n" not in problem


@pytest.mark.parametrize("make_it", [lambda path: path.symlink_to("/etc/passwd"), lambda path: path.mkdir(), os.mkfifo], ids=["link", "directory", "pipe"])
def test_what_is_no_file_is_no_receipt(directory, tmp_path, make_it):
    make_it(tmp_path / "ecc.json")
    receipt, problem = receipts.read(directory, "ecc")
    assert receipt is None and "is ignored" in problem


def test_all_receipts_are_found_and_other_files_are_not(directory, tmp_path):
    receipts.write(directory, make())
    receipts.write(directory, make(name="ecc.json"))
    (tmp_path / "ecc.json.new").write_bytes(b"half")
    (tmp_path / ".x.json").write_bytes(b"half")
    assert sorted(receipts.read_all(directory)) == ["ecc", "ecc.json"]


def test_removing_twice_is_fine(directory, tmp_path):
    receipts.write(directory, make())
    receipts.remove(directory, "ecc")
    receipts.remove(directory, "ecc")
    assert os.listdir(tmp_path) == []


SCHEMA = pathlib.Path(__file__).resolve().parents[4] / "docs" / "receipt-1.schema.json"


@pytest.mark.parametrize("receipt", [
    make(), make(state="absent", digest=None), make(source=None, plugin_version=None, restart_pending=False),
    dict(receipts.make("a.b_c-0", "present", DIGEST, None, None, {})),
])
def test_the_schema_describes_what_is_written(receipt):
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(receipt)


@pytest.mark.parametrize("name", [name for name, content in BROKEN.items() if content.startswith(b"{\"") and name not in ("another plugin's", "huge")])
def test_the_schema_refuses_what_is_refused(name):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).validate(json.loads(BROKEN[name]))
