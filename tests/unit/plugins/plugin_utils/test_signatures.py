# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of sources, made with real keys by ssh-keygen and git, and verified as in a run."""
from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils.errors import InvalidInputError
from ansible_collections.molecule_ai.workspace.plugins.module_utils.plugin_tree import Limits
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils import signatures
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.prepared_plugin import PreparedPlugin, prepare
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.run_cache import RunCache
from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.sources import SourceSettings, parse_source

REFUSED = "has no good signature of an allowed signer: "


class Scene:
    """Keys of several people, a file of allowed signers, and sources."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = directory / "keys"
        self.keys.mkdir()
        self.allowed = directory / "allowed_signers"
        self.revoked: Path | None = None
        for who in ("alice", "bob", "mallory"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", str(self.keys / who)], check=True)
        self.allow(f"alice@example.com {self.public('alice')}", f"bob@example.com {self.public('bob')}")
        self.plugin = directory / "ecc"
        (self.plugin / "rules").mkdir(parents=True)
        (self.plugin / "plugin.yaml").write_text("name: ecc\nversion: 1.0.0\n", encoding="utf-8")
        (self.plugin / "rules/a.md").write_text("be careful\n", encoding="utf-8")
        self.runs = 0

    def public(self, who: str) -> str:
        return (self.keys / f"{who}.pub").read_text(encoding="utf-8").strip()

    def allow(self, *lines: str) -> None:
        self.allowed.write_text("# who may sign\n" + "".join(f"{line}\n" for line in lines), encoding="utf-8")

    def sign(self, path: Path, who: str, namespace: str = "file") -> None:
        path.with_name(path.name + ".sig").unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(self.keys / who), str(path)], check=True, capture_output=True)

    def sign_directory(self, digest: str, who: str, namespace: str = signatures.DIGEST_NAMESPACE, end: str = "\n") -> None:
        line = self.directory / "line"
        line.write_text(digest + end, encoding="ascii")
        self.sign(line, who, namespace)
        shutil.move(self.directory / "line.sig", self.directory / "ecc.sig")

    def prepare(self, source: str, unsigned: bool = False, allow_unpinned: bool = False) -> PreparedPlugin:
        """What a run does with ``source``; each call is a run of its own."""
        signers = None if unsigned else signatures.read_signers(str(self.allowed), str(self.revoked) if self.revoked else None)
        settings = SourceSettings(
            find=str, registry=str(self.directory), github_url="https://github.com", timeout=60, max_bytes=100_000, max_entries=100, signers=signers
        )
        self.runs += 1
        return prepare(parse_source(source, settings, allow_unpinned), False, Limits(), RunCache(self.directory / f"run-{self.runs}"))

    def archive(self) -> Path:
        path = self.directory / "ecc-1.0.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(self.plugin, arcname=".")
        return path


@pytest.fixture(name="scene")
def fixture_scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


class Repository:
    """The scene's plugin as a git repository."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str, key: str = "alice", when: str = "2026-03-01T00:00:00Z") -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_COMMITTER_DATE": when}
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "gpg.format=ssh", "-c", f"user.signingKey={self.scene.keys / key}"]
        command = ["git", *identity, "-C", str(self.scene.plugin), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()

    def commit(self, text: str, *options: str, key: str = "alice", when: str = "2026-03-01T00:00:00Z") -> str:
        (self.scene.plugin / "rules/a.md").write_text(text, encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", text, *options, key=key, when=when)
        return self.git("rev-parse", "HEAD")

    def tag(self, name: str, key: str = "alice", when: str = "2026-03-01T00:00:00Z") -> None:
        self.git("tag", "-s", "-m", name, name, key=key, when=when)

    def write_tag(self, content: str) -> str:
        command = ["git", "-C", str(self.scene.plugin), "hash-object", "-t", "tag", "-w", "--stdin"]
        return subprocess.run(command, input=content, check=True, capture_output=True, text=True).stdout.strip()

    def source(self, ref: str) -> str:
        return f"git+file://{self.scene.plugin}#{ref}"


@pytest.fixture(name="repository")
def fixture_repository(scene: Scene) -> Repository:
    return Repository(scene)


def refused(scene: Scene, source: str, reason: str = "", allow_unpinned: bool = False) -> str:
    with pytest.raises(InvalidInputError) as caught:
        scene.prepare(source, allow_unpinned=allow_unpinned)
    message = str(caught.value)
    assert REFUSED in message and reason in message
    assert "\n" not in message and "run-" not in message
    return message


def test_a_signed_archive(scene: Scene) -> None:
    path = scene.archive()
    assert scene.prepare(str(path), unsigned=True).signed_by is None
    refused(scene, str(path), "ecc-1.0.tar.gz.sig")
    scene.sign(path, "bob")
    signed_by = scene.prepare(str(path)).signed_by
    fingerprint = subprocess.run(["ssh-keygen", "-l", "-f", str(scene.keys / "bob.pub")], check=True, capture_output=True, text=True).stdout.split()[1]
    assert signed_by == f"bob@example.com (ED25519 {fingerprint})"


def test_an_archive_that_was_tampered_with(scene: Scene) -> None:
    path = scene.archive()
    scene.sign(path, "alice")
    path.write_bytes(path.read_bytes() + b"x")
    refused(scene, str(path), "incorrect signature")


def test_a_signature_of_somebody_else(scene: Scene) -> None:
    path = scene.archive()
    scene.sign(path, "mallory")
    refused(scene, str(path))


def test_a_signature_for_another_purpose(scene: Scene) -> None:
    path = scene.archive()
    scene.sign(path, "alice", "email")
    refused(scene, str(path), "namespace")
    scene.allow(f'alice@example.com namespaces="git" {scene.public("alice")}')
    scene.sign(path, "alice")
    refused(scene, str(path))


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"-----BEGIN SSH SIGNATURE-----\nU1NI\n-----END SSH SIGNATURE-----\n", b"x" * 2_000_000])
def test_a_broken_signature(scene: Scene, content: bytes) -> None:
    path = scene.archive()
    path.with_name(path.name + ".sig").write_bytes(content)
    refused(scene, str(path))


def test_keys_that_have_expired_or_were_revoked(scene: Scene) -> None:
    path = scene.archive()
    scene.sign(path, "alice")
    scene.allow(f'alice@example.com valid-before="20200101" {scene.public("alice")}')
    refused(scene, str(path))
    scene.allow(f'alice@example.com valid-after="20200101" {scene.public("alice")}')
    assert scene.prepare(str(path)).signed_by
    scene.revoked = scene.keys / "alice.pub"
    refused(scene, str(path), "revoked")
    scene.revoked = scene.directory / "revoked.krl"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(scene.revoked), str(scene.keys / "alice.pub")], check=True)
    refused(scene, str(path), "revoked")
    scene.sign(path, "bob")
    scene.allow(f"bob@example.com {scene.public('bob')}")
    assert scene.prepare(str(path)).signed_by


def test_a_certificate_of_an_allowed_authority(scene: Scene) -> None:
    path = scene.archive()
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(scene.keys / "bob"), "-I", "alice", "-n", "alice@example.com", str(scene.keys / "alice.pub")], check=True
    )
    shutil.copy(scene.keys / "alice-cert.pub", scene.keys / "certified")
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(scene.keys / "alice-cert.pub"), str(path)], check=True, capture_output=True)
    scene.allow(f"*@example.com cert-authority {scene.public('bob')}")
    assert (scene.prepare(str(path)).signed_by or "").startswith("alice@example.com (ED25519-CERT SHA256:")
    scene.allow(f"*@example.com cert-authority {scene.public('mallory')}")
    refused(scene, str(path))


@pytest.mark.parametrize("source", ["{plugin}", "{plugin}/", "ecc", "local://ecc"])
def test_a_signed_directory(scene: Scene, source: str) -> None:
    text = source.format(plugin=scene.plugin)
    digest = scene.prepare(text, unsigned=True).digest
    message = refused(scene, text, "ecc.sig")
    assert f"its digest is {digest}" in message
    scene.sign_directory(digest, "alice")
    assert (scene.prepare(text).signed_by or "").startswith("alice@example.com ")
    (scene.plugin / "rules/a.md").chmod(0o755)
    refused(scene, text)
    (scene.plugin / "rules/a.md").chmod(0o644)
    (scene.plugin / "rules/b.md").write_text("be careless", encoding="utf-8")
    refused(scene, text)


def test_a_digest_that_was_not_signed_as_such(scene: Scene) -> None:
    digest = scene.prepare(str(scene.plugin), unsigned=True).digest
    for options in ({"namespace": "file"}, {"end": ""}):
        scene.sign_directory(digest, "alice", **options)
        refused(scene, str(scene.plugin))
    scene.sign_directory(digest, "mallory")
    refused(scene, str(scene.plugin))


def test_a_signed_tag(scene: Scene, repository: Repository) -> None:
    repository.commit("one")
    repository.tag("v1")
    prepared = scene.prepare(repository.source("v1"))
    assert (prepared.signed_by or "").startswith("alice@example.com (ED25519 SHA256:")
    assert scene.prepare(repository.source("v1"), unsigned=True).signed_by is None


def test_a_tag_that_is_not_signed_itself(scene: Scene, repository: Repository) -> None:
    repository.commit("one", "-S")
    repository.git("tag", "light")
    repository.git("tag", "-a", "-m", "annotated", "annotated")
    refused(scene, repository.source("light"), "git tag -s")
    refused(scene, repository.source("annotated"), "no signature")


def test_a_tag_of_somebody_else(scene: Scene, repository: Repository) -> None:
    repository.commit("one", "-S")
    repository.tag("v1", "mallory")
    refused(scene, repository.source("v1"), "No principal matched")


def test_an_old_signed_tag_under_a_new_name(scene: Scene, repository: Repository) -> None:
    repository.commit("one")
    repository.tag("v1")
    repository.commit("two")
    repository.git("update-ref", "refs/tags/v2", repository.git("rev-parse", "refs/tags/v1"))
    refused(scene, repository.source("v2"), "the server sent the tag that is called 'v1'")


def test_a_signed_tag_that_was_changed(scene: Scene, repository: Repository) -> None:
    repository.commit("one")
    repository.tag("v1")
    other = repository.commit("two")
    content = repository.git("cat-file", "tag", "v1").splitlines(keepends=True)
    content[0] = f"object {other}\n"
    changed = repository.write_tag("".join([*content, "\n"]))
    repository.git("update-ref", "refs/tags/v1", changed)
    refused(scene, repository.source("v1"), "incorrect signature")


def test_commits(scene: Scene, repository: Repository) -> None:
    unsigned, signed = repository.commit("one"), repository.commit("two", "-S")
    wrong = repository.commit("three", "-S", key="mallory")
    assert (scene.prepare(repository.source(signed)).signed_by or "").startswith("alice@example.com ")
    refused(scene, repository.source(unsigned))
    refused(scene, repository.source(wrong), "No principal matched")
    refused(scene, repository.source("main"), "No principal matched", allow_unpinned=True)
    repository.commit("four", "-S", key="bob")
    assert (scene.prepare(repository.source("main"), allow_unpinned=True).signed_by or "").startswith("bob@example.com ")


def test_tags_of_keys_that_have_expired_or_were_revoked(scene: Scene, repository: Repository) -> None:
    repository.commit("one")
    repository.tag("v1", when="2026-03-01T00:00:00Z")
    scene.allow(f'alice@example.com valid-before="20260101" {scene.public("alice")}')
    refused(scene, repository.source("v1"))
    scene.allow(f'alice@example.com valid-before="20260401" {scene.public("alice")}')  # valid when the tag was made
    assert scene.prepare(repository.source("v1")).signed_by
    scene.revoked = scene.keys / "alice.pub"
    refused(scene, repository.source("v1"), "revoked")


def test_the_users_own_keyring_does_not_count(scene: Scene, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature of another kind, which a program of the user's configuration would call good."""
    repository.commit("one")
    commit = repository.git("rev-parse", "HEAD")
    text = f"object {commit}\ntype commit\ntag v1\ntagger x <x@example.com> 1 +0000\n\nv1\n-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
    repository.git("update-ref", "refs/tags/v1", repository.write_tag(text))
    agreeable = tmp_path / "agreeable"
    agreeable.write_text(
        "#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] NEWSIG'\necho '[GNUPG:] GOODSIG 0123456789ABCDEF x'\necho '[GNUPG:] TRUST_ULTIMATE 0 pgp'\n"
        "echo 'Good \"git\" signature for alice@example.com with ED25519 key SHA256:abc' >&2\n",
        encoding="utf-8",
    )
    agreeable.chmod(0o755)
    (tmp_path / "gitconfig").write_text(f"[gpg]\n\tprogram = {agreeable}\n[gpg \"openpgp\"]\n\tprogram = {agreeable}\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    accepted = subprocess.run(["git", "-C", str(scene.plugin), "verify-tag", "v1"], capture_output=True, check=False)
    assert accepted.returncode == 0, accepted
    refused(scene, repository.source("v1"))


@pytest.mark.parametrize("content", ["", "# nobody\n\n"])
def test_a_file_without_signers_is_a_mistake(scene: Scene, content: str) -> None:
    scene.allowed.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="names no key"):
        scene.prepare(str(scene.plugin))


def test_files_that_cannot_be_read(scene: Scene) -> None:
    scene.revoked = scene.directory / "none"
    with pytest.raises(InvalidInputError, match="revoked_signers .* cannot be read"):
        scene.prepare(str(scene.plugin))
    scene.allowed.unlink()
    with pytest.raises(InvalidInputError, match="allowed_signers .* cannot be read"):
        scene.prepare(str(scene.plugin))


def test_what_was_prepared_without_signers_is_not_reused_with_them(scene: Scene) -> None:
    cache = RunCache(scene.directory / "one-run")
    for signers in (None, signatures.read_signers(str(scene.allowed), None)):
        settings = SourceSettings(str, None, "https://github.com", 60, 100_000, 100, signers)
        source = parse_source(str(scene.plugin), settings, False)
        if signers is None:
            prepare(source, False, Limits(), cache)
        else:
            with pytest.raises(InvalidInputError, match=REFUSED):
                prepare(source, False, Limits(), cache)
