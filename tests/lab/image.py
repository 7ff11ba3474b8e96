# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's container image: a small Debian system made by debootstrap, with the lab's own files on top.

No image registry is needed. The Debian part is made once (about half a minute) and kept as a tar file in the user's cache; the files of
``image/`` are laid over it in a moment, so changing them does not repeat the slow part. Both parts are named by a hash of their recipe.
"""
from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile

import docker
import docker.errors

from .engine import LabError
from .paths import image_cache
from .progress import Progress

SUITE = "trixie"
PACKAGES = ("docker-cli", "openssh-server", "openssh-sftp-server", "python3", "sudo")
AGENT = 1000
BASE_RECIPE = 2  # to be raised when _prepare changes

REPOSITORY = "molecule-lab"
FILES = pathlib.Path(__file__).resolve().parent / "image"
PROGRAM_START = b"#!/usr/bin/python3 -I\n"
"""The first line of the image's programs, added on the way: the files here are not meant to be run, and ansible-test knows no such line."""
# file in image/ -> (path in the image, mode)
LAYOUT = {
    "molecule-runtime": ("usr/local/lib/molecule-lab/molecule-runtime", 0o755),
    "molecule-host": ("usr/local/lib/molecule-lab/molecule-host", 0o755),
    "authorized-keys": ("usr/local/lib/molecule-lab/authorized-keys", 0o755),
    "systemctl": ("usr/bin/systemctl", 0o755),
    "sshd_config": ("etc/ssh/sshd_config", 0o644),
}
_UNUSED = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info")


def base_tag() -> str:
    """The tag of the Debian part."""
    return hashlib.sha256(repr((SUITE, PACKAGES, BASE_RECIPE)).encode()).hexdigest()[:16]


def image_tag() -> str:
    """The tag of the whole image."""
    digest = hashlib.sha256(base_tag().encode())
    for name, (target, mode) in sorted(LAYOUT.items()):
        digest.update(f"{target} {mode:o} ".encode() + hashlib.sha256(_content(name, mode)).digest())
    return digest.hexdigest()[:16]


def ensure(engine: docker.DockerClient, progress: Progress) -> str:
    """Make the image available on ``engine`` and return its name; raises :class:`LabError` when it cannot be made."""
    tag = image_tag()
    name = f"{REPOSITORY}:{tag}"
    if _has(engine, name):
        return name
    base = f"{REPOSITORY}-base:{base_tag()}"
    if not _has(engine, base):
        archive = _base_archive(progress)
        with progress.step("loading the Debian system into the engine"), open(archive, "rb") as stream:
            # As an iterator: the SDK announces a chunked body, and with a file object requests would send another kind.
            engine.api.import_image_from_stream(iter(lambda: stream.read(1 << 20), b""), repository=f"{REPOSITORY}-base", tag=base_tag())
    with progress.step("adding the lab's files to the image"):
        container = engine.containers.create(base, command=["/bin/true"], network_mode="none")
        try:
            container.put_archive("/", _overlay())
            container.commit(repository=REPOSITORY, tag=tag)
        finally:
            container.remove()
    _remove_outdated(engine, {name, base})
    return name


def _remove_outdated(engine: docker.DockerClient, kept: set[str]) -> None:
    """Remove the images of earlier recipes that no container uses."""
    for outdated in engine.images.list(name=REPOSITORY) + engine.images.list(name=f"{REPOSITORY}-base"):
        for tag in set(outdated.tags) - kept:
            with contextlib.suppress(docker.errors.APIError):  # in use
                engine.images.remove(tag)


def _has(engine: docker.DockerClient, name: str) -> bool:
    try:
        engine.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def _content(name: str, mode: int) -> bytes:
    """A file as it lies in the image."""
    return (PROGRAM_START if mode & 0o111 else b"") + (FILES / name).read_bytes()


def _overlay() -> bytes:
    """The lab's files as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (target, mode) in sorted(LAYOUT.items()):
            content = _content(name, mode)
            member = tarfile.TarInfo(target)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _base_archive(progress: Progress) -> pathlib.Path:
    """The Debian part as a tar file in the cache, made now if it is not there."""
    cache = image_cache()
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"base-{base_tag()}.tar"
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another checkout may be making it
        if not archive.exists():
            with progress.step(f"making a small Debian system ({SUITE}; once, about a minute; kept in {cache})") as step:
                _debootstrap(archive, step)
    return archive


def _debootstrap(archive: pathlib.Path, step: Progress.Step) -> None:
    program = shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        raise LabError("debootstrap is missing: install Debian's package debootstrap (tests/setup does)")
    if os.geteuid() != 0:
        raise LabError("making the lab's image needs root once: run this with sudo")
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="making-") as scratch:
        root = pathlib.Path(scratch) / "root"
        command = [program, "--variant=minbase", "--include=" + ",".join(PACKAGES), SUITE, str(root)]
        mirror = os.environ.get("LAB_DEBIAN_MIRROR")  # without it, debootstrap's default
        process = subprocess.Popen(
            command + ([mirror] if mirror else []), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive"),
        )
        said: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip())
            step.detail = line.rstrip().removeprefix("I: ")
        if process.wait() != 0:
            log = root / "debootstrap" / "debootstrap.log"
            more = log.read_text(errors="replace").splitlines()[-10:] if log.exists() else []
            last_words = "\n".join(said[-5:] + more)
            raise LabError(f"debootstrap failed (is a Debian mirror reachable? LAB_DEBIAN_MIRROR names another); its last words:\n{last_words}")
        step.detail = "packing"
        _prepare(root)
        unfinished = pathlib.Path(scratch) / "base.tar"
        subprocess.run(["tar", "--numeric-owner", "--xattrs", "--one-file-system", "-C", str(root), "-cf", str(unfinished), "."], check=True)
        os.replace(unfinished, archive)
    for outdated in archive.parent.glob("base-*.tar"):
        if outdated != archive:
            outdated.unlink()


def _prepare(root: pathlib.Path) -> None:
    """Add the agent and the directories that a workspace and a host have, and take out what nobody reads.

    No config directory: where a host has one depends on its runtime, and a plugin written to a wrong path must not find one there.
    """
    for unused in _UNUSED:
        for entry in (root / unused).iterdir() if (root / unused).is_dir() else []:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    accounts = {
        "passwd": f"agent:x:{AGENT}:{AGENT}:agent:/home/agent:/bin/bash", "group": f"agent:x:{AGENT}:",
        # '*' and not '!': without PAM, sshd refuses a locked account
        "shadow": "agent:*:19000:0:99999:7:::", "gshadow": "agent:!::",
    }
    for file, line in accounts.items():
        with open(root / "etc" / file, "a", encoding="utf-8") as stream:
            stream.write(line + "\n")
    for directory in ("home/agent", "home/ubuntu"):
        (root / directory).mkdir(mode=0o755)
        os.chown(root / directory, AGENT, AGENT)
    for directory in ("run/sshd", "run/docker-engine", "run/eic-keys", "var/lib/molecule-runtime"):
        (root / directory).mkdir(mode=0o755, parents=True, exist_ok=True)
    (root / "run/docker.sock").symlink_to("docker-engine/docker.sock")
    sudoers = root / "etc/sudoers.d/90-ubuntu"
    sudoers.write_text("ubuntu ALL=(ALL) NOPASSWD:ALL\n", encoding="utf-8")
    sudoers.chmod(0o440)
