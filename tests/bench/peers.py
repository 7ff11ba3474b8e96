# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the contestants need besides ansible-core, installed below .cache/bench when it is first wanted; nothing of it is needed by the tests.

A Debian system (trixie, whose AWS CLI has ``open-tunnel``) is both the peers' AWS CLI, started by chroot, and what all hosts of the fleet consist of.
"""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "bench"
ROOT = CACHE / "trixie"
COLLECTIONS = REPOSITORY / ".cache" / "collections"
PEER_COLLECTIONS = CACHE / "collections"
VENV = REPOSITORY / ".cache" / "venv" / "bin"
# debootstrap does not resolve python3-cffi-backend, which python3-cryptography wants by a virtual name
_PACKAGES = ("awscli", "ca-certificates", "openssh-client", "openssh-server", "openssh-sftp-server", "python3", "python3-cffi-backend", "rsync", "sudo")
_POSIX = "ansible_collections/ansible/posix/"


def debian() -> pathlib.Path:
    """The Debian root."""
    if not (ROOT / "srv" / "hosts").is_dir():
        print("bench: making a Debian system (once, a minute)", file=sys.stderr)
        program = shutil.which("debootstrap", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program is None:
            sys.exit("debootstrap is missing: run tests/setup")
        making = CACHE / "making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        mirror = os.environ.get("LAB_DEBIAN_MIRROR")
        command = [program, "--variant=minbase", "--include=" + ",".join(_PACKAGES), "trixie", str(making), *([mirror] if mirror else [])]
        completed = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if completed.returncode:
            sys.exit(f"debootstrap failed:\n{completed.stdout[-2000:]}")
        with open(making / "etc/passwd", "a", encoding="utf-8") as accounts:
            accounts.write("ubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n")
        with open(making / "etc/group", "a", encoding="utf-8") as groups:
            groups.write("ubuntu:x:1000:\n")
        for directory in ("configs", "run/sshd", "srv/hosts"):
            (making / directory).mkdir(parents=True, exist_ok=True)
        making.rename(ROOT)
    return ROOT


def programs() -> pathlib.Path:
    """A directory with ``rsync``: the Debian system's, with its own libraries, so that nothing is installed on this machine."""
    root, directory = debian(), CACHE / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "rsync"
    libraries = f"{root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu"
    script.write_text(f'#!/bin/sh\nexec {root}/lib64/ld-linux-x86-64.so.2 --library-path {libraries} {root}/usr/bin/rsync "$@"\n')
    script.chmod(0o755)
    return directory


def environment(name: str, *packages: str, python: str = sys.executable) -> pathlib.Path:
    """The directory of programs of a virtual environment with ``packages``."""
    directory = CACHE / f"venv-{name}"
    stamp = directory / ".stamp"
    wanted = " ".join([python, *packages])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"bench: installing {', '.join(packages)}", file=sys.stderr)
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(directory)], check=True)
        subprocess.run([str(directory / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
        stamp.write_text(wanted)
    return directory / "bin"


def posix_collection() -> pathlib.Path:
    """A collections path with ``ansible.posix``, out of the Python package ``ansible``."""
    if not (PEER_COLLECTIONS / _POSIX / "MANIFEST.json").exists():
        print("bench: fetching ansible.posix (out of the Python package 'ansible', 50 MB)", file=sys.stderr)
        download = CACHE / "download"
        shutil.rmtree(download, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:",
                   "--dest", str(download), "ansible>=12,<13"]
        subprocess.run(command, check=True)
        (wheel,) = download.glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(PEER_COLLECTIONS, [name for name in archive.namelist() if name.startswith(_POSIX)])
        shutil.rmtree(download)
    return PEER_COLLECTIONS
