# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that were forgotten in a plugin: found by place and kind, never repeated."""
from __future__ import annotations

import base64
import json
import sys
import tarfile
from pathlib import Path

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.plugin_tree import Limits
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import secret_scan
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.prepared_plugin import prepare
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.sources import DirectorySource

# Put together here, so that this file holds none itself.
AWS_KEY = "AKIA" + "QWERTYUIOPASDFGH"
JWT = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "HS256"}, {"sub": "x"})) + "." + "a" * 43
SECRETS = {
    "AWS Access Key": AWS_KEY,
    "Anthropic API Key": "sk-ant-" + "api03-" + "Ab1" * 20,
    "Basic Auth Credentials": "https://deploy:" + "hunter2hunter2" + "@git.example.com/x",
    "GitHub Token": "ghp_" + "a1B2" * 9,
    "GitHub Token ": "github_pat_" + "A" * 22 + "_" + "b" * 59,
    "GitLab Token": "glpat-" + "x1Y2" * 5,
    "JSON Web Token": JWT,
    "Private Key": "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
    "Slack Token": "xoxb-" + "1234567890-1234567890-" + "abcdefabcdef",
    "Stripe Access Key": "sk_live_" + "a1B2c3" * 4,
}


def _scan(tmp_path: Path, files: dict[str, str | bytes]) -> secret_scan.SecretScan:
    path = tmp_path / "bundle.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            source = tmp_path / "file"
            source.write_bytes(content if isinstance(content, bytes) else content.encode())
            tar.add(source, arcname=name)
    scan = secret_scan.scan_bundle(path)
    assert scan is not None
    return scan


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_told_by_place_and_kind_only(tmp_path: Path, kind: str) -> None:
    secret = SECRETS[kind]
    scan = _scan(tmp_path, {"plugin.yaml": "name: x\n", "skills/a/SKILL.md": f"one\ntwo {secret} three\nfour\n"})
    assert scan.found == ({"path": "skills/a/SKILL.md", "line": 2, "kind": kind.strip()},)
    [warning] = scan.warnings("plugins/x")
    assert f"skills/a/SKILL.md line 2 ({kind.strip()})" in warning
    assert secret not in warning
    with pytest.raises(InvalidInputError, match="plugins/x seems to contain secrets"):
        secret_scan.require_none(scan, "plugins/x")


@pytest.mark.parametrize(
    "text",
    [
        "name: x", "https://user:password@host/x", "https://{{ user }}:{{ password }}@host", "https://$USER:$TOKEN@host", "https://<user>:<token>@host",
        "AKIAIOSFODNN7EXAMPLE", "sk_live_" + "x" * 24, "sk-ant-api03-your-key-goes-here-please", "sha256:" + "0123456789abcdef" * 4, "password: hunter2",
        "commit 5f0c9d2f1d0e4c1c9f0e8a1b2c3d4e5f60718293", f"{AWS_KEY}  # pragma: allowlist secret", f"# pragma: allowlist nextline secret\n{AWS_KEY}",
    ],
)
def test_what_is_no_secret(tmp_path: Path, text: str) -> None:
    scan = _scan(tmp_path, {"a.yaml": text + "\n"})
    assert (scan.found, scan.warnings("x")) == ((), [])
    secret_scan.require_none(scan, "x")


def test_long_lines_binary_files_and_unusual_encodings(tmp_path: Path) -> None:
    at_a_border = "y" * (4096 - 10) + " " + AWS_KEY + " " + "y" * 10000
    scan = _scan(tmp_path, {"long.js": at_a_border, "binary": b"\0" + AWS_KEY.encode(), "latin1.md": b"\xe4\n" + AWS_KEY.encode()})
    assert [(entry["path"], entry["line"]) for entry in scan.found] == [("long.js", 1), ("latin1.md", 2)]


def test_what_is_too_large_is_said(tmp_path: Path) -> None:
    scan = _scan(tmp_path, {"large.md": "x\n" * 600_000 + AWS_KEY, "small.md": "x"})
    assert (scan.found, scan.skipped) == ((), ("large.md",))
    assert "large.md" in scan.warnings("x")[0]
    with pytest.raises(InvalidInputError, match="was not looked through for secrets as a whole"):
        secret_scan.require_none(scan, "x")


def test_many_findings_are_one_short_warning(tmp_path: Path) -> None:
    scan = _scan(tmp_path, {"a.md": f"{AWS_KEY}\n" * 300})
    assert len(scan.found) == 100
    [warning] = scan.warnings("x")
    assert "and 95 more" in warning
    assert len(warning) < 600


def test_nothing_secret_is_kept_on_the_controller_but_in_the_bundle(tmp_path: Path) -> None:
    root = tmp_path / "x"
    root.mkdir()
    (root / "plugin.yaml").write_text(f"name: x\n# {AWS_KEY}\n", encoding="utf-8")
    prepared = prepare(DirectorySource(str(root), "x"), False, Limits(), RunCache(tmp_path / "cache"))
    assert prepared.secret_scan is not None
    assert prepared.secret_scan.found == ({"path": "plugin.yaml", "line": 2, "kind": "AWS Access Key"},)
    assert not [path for path in (tmp_path / "cache").rglob("*.json") if AWS_KEY in path.read_text(encoding="utf-8")]
    assert prepare(DirectorySource(str(root), "x"), False, Limits(), RunCache(tmp_path / "cache"), scan=False).secret_scan is None


def test_without_detect_secrets_nobody_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "detect_secrets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detect_secrets", None)
    assert secret_scan.scan_bundle(tmp_path / "none") is None
    with pytest.raises(InvalidInputError, match="install the Python package detect-secrets"):
        secret_scan.require_none(None, "x")
