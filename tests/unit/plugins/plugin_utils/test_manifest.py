# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""plugin.yaml, manifest.json and the platform's hashes."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.plugin_tree import Entries, Limits
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import manifest
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.prepared_plugin import describe_tree

# The platform's own test vector.
VECTOR = {
    "plugin.yaml": "name: test-plugin\nversion: 1.0.0\ndescription: supply chain test\n",
    "rules/guidelines.md": "# Plugin Guidelines\nFollow the rules.\n",
    "skills/helper/SKILL.md": "---\nid: helper\nname: Helper\ndescription: does stuff\n---\n",
}
VECTOR_MANIFEST_SHA256 = "ac127edac2dcd54692e3fc2fbc4c44817d81ed54271535119d83132c86aaf172"
VECTOR_CONTENT_SHA256 = "463f0c3e1dde225277dddfd48800955786583938f74b2b4663c3823a0ed07435"


def _write(root: Path, files: dict[str, str]) -> Entries:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    return describe_tree(root, Limits(), "source")


def _verify(root: Path, files: dict[str, str]) -> None:
    entries = _write(root, files)
    manifest.verify_embedded_hashes(root, entries, manifest.read_manifest(root, "source"), "source")


def test_the_platforms_test_vector(tmp_path: Path) -> None:
    entries = _write(tmp_path, VECTOR)
    assert manifest.manifest_json_sha256(tmp_path, entries) == VECTOR_MANIFEST_SHA256
    assert manifest.plugin_yaml_content_sha256(entries) == VECTOR_CONTENT_SHA256
    assert entries["plugin.yaml"]["sha256"] == hashlib.sha256(VECTOR["plugin.yaml"].encode()).hexdigest(), "that of an install request"


def test_the_manifest_hash_sorts_whole_entries_as_bytes(tmp_path: Path) -> None:
    files = {"plugin.yaml": "a", "a": "1", "a.md": "2", "é": "3", "a-b/x": "4", "B": "5"}
    entries = _write(tmp_path, files)
    joined = b"".join(sorted(path.encode() + b"\0" + text.encode() for path, text in files.items()))
    assert manifest.manifest_json_sha256(tmp_path, entries) == hashlib.sha256(joined).hexdigest()


def test_right_embedded_hashes_pass(tmp_path: Path) -> None:
    _verify(tmp_path, VECTOR | {"manifest.json": json.dumps({"sha256": VECTOR_MANIFEST_SHA256})})


def test_a_right_content_hash_in_plugin_yaml_passes(tmp_path: Path) -> None:
    _verify(tmp_path, VECTOR | {"plugin.yaml": VECTOR["plugin.yaml"] + f"sha256: {VECTOR_CONTENT_SHA256}\n"})


@pytest.mark.parametrize("text", ["{}", '{"version": 1}'])
def test_a_manifest_json_without_the_field_has_nothing_to_check(tmp_path: Path, text: str) -> None:
    _verify(tmp_path, VECTOR | {"manifest.json": text})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"manifest.json": json.dumps({"sha256": "0" * 64})}, "do not match 'sha256' in manifest.json"),
        ({"manifest.json": json.dumps({"sha256": 5})}, "must be an object"),
        ({"manifest.json": json.dumps({"sha256": None})}, "must be an object"),
        ({"manifest.json": "[]"}, "must be an object"),
        ({"manifest.json": "null"}, "must be an object"),
        ({"manifest.json": "{"}, "is not JSON"),
        ({"manifest.json": "[" * 100000}, "is not JSON"),
        ({"plugin.yaml": f"name: x\nsha256: {'0' * 63}a\n"}, "do not match 'sha256' in plugin.yaml"),
        ({"plugin.yaml": "name: x\nsha256: 12\n"}, "must be a text"),
    ],
)
def test_wrong_embedded_hashes_are_one_sentence(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        _verify(tmp_path, VECTOR | files)


def test_what_is_read_of_plugin_yaml(tmp_path: Path) -> None:
    _write(tmp_path, {"plugin.yaml": "name: x\nversion: 1.0\nruntimes: [claude_code]\n"})
    assert manifest.read_manifest(tmp_path, "source") == manifest.Manifest("x", "1.0", ("claude_code",), None)


@pytest.mark.parametrize("text", ["name: x\n", "name: x\nruntimes:\n", "name: x\nruntimes: []\n"])
def test_no_runtimes_means_every_runtime(tmp_path: Path, text: str) -> None:
    _write(tmp_path, {"plugin.yaml": text})
    assert manifest.read_manifest(tmp_path, "source").runtimes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [x\n", "is not valid YAML in line"),
        ("name: x\n\tversion: 1\n", "is not valid YAML in line 2"),
        ("a: 2020-99-99\n", "is not valid YAML"),
        ("!!python/object/apply:os.system [id]\n", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("- a\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("runtimes: claude_code\n", "'runtimes' in plugin.yaml must be a list"),
        ("runtimes: [1]\n", "'runtimes' in plugin.yaml must be a list"),
        ("name: x\x00\n", "is not valid YAML"),
        (f"version: '{'1' * 4097}'\n", "'version' in plugin.yaml has 4097 characters: use at most 4096"),
    ],
)
def test_a_broken_plugin_yaml_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    _write(tmp_path, {"plugin.yaml": text})
    with pytest.raises(InvalidInputError, match=message) as caught:
        manifest.read_manifest(tmp_path, "source")
    assert "\n" not in str(caught.value)


def test_a_plugin_without_plugin_yaml_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"source is not a plugin: it has no plugin\.yaml"):
        manifest.read_manifest(tmp_path, "source")


@pytest.mark.parametrize(
    ("runtimes", "runtime"),
    [([], None), ([], "hermes"), (["claude_code"], "claude-code"), (["claude-code"], "claude_code"), (["hermes", "claude_code"], " Claude-Code ")],
)
def test_supported_runtimes(runtimes: list[str], runtime: str | None) -> None:
    manifest.require_supported_runtime("ecc", runtimes, runtime)


@pytest.mark.parametrize("runtime", ["hermes", "claude", "claude-code-2"])
def test_an_unsupported_runtime_is_refused(runtime: str) -> None:
    with pytest.raises(InvalidInputError, match=f"made for claude_code, not for this workspace's runtime {runtime}: set any_runtime"):
        manifest.require_supported_runtime("ecc", ["claude_code"], runtime)


@pytest.mark.parametrize("runtime", [None, "", " "])
def test_an_unknown_runtime_is_asked_for(runtime: str | None) -> None:
    with pytest.raises(InvalidInputError, match="runtime is not known: set 'runtime', or any_runtime"):
        manifest.require_supported_runtime("ecc", ["claude_code"], runtime)


@pytest.mark.parametrize(
    ("digest", "sha256", "commit"),
    [
        ("0" * 64, None, None), ("sha256:" + "0" * 63, None, None), (None, "sha256:" + "0" * 64, None), (None, "xyz", None), (None, None, "v1"),
        (None, None, "0" * 39),
    ],
)
def test_a_pin_that_is_no_hash_is_refused(digest: str | None, sha256: str | None, commit: str | None) -> None:
    with pytest.raises(InvalidInputError, match="is not one"):
        manifest.validate_pins(digest, sha256, commit, "ecc")
