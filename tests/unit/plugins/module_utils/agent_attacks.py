# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that fights back: exchanges directories and files of its config dir with links and pipes, as fast as it can, until its input ends.

Run as the agent's user: ``agent_attacks.py CONFIG_DIR CANARY MIX``. The canary is a directory outside that looks like a config dir. It says ``ready``
first, and at its end how many exchanges succeeded.
"""
from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import pathlib
import select
import shutil
import sys

AT_FDCWD = -100
RENAME_EXCHANGE = 2
# What is attacked, relative to the config dir, and what is put in its place.
ATTACKS = [
    ("plugins", "link"),
    ("plugins", "directory"),
    ("plugins/ecc", "link"),
    ("plugins/ecc/rules", "link"),
    ("plugins/ecc/skills/helper", "link"),
    ("plugins/ecc/plugin.yaml", "link"),
    ("plugins/ecc/plugin.yaml", "pipe"),
    ("plugins/ecc/settings-fragment.json", "link"),
    ("plugins/ecc/hooks/guard.sh", "pipe"),
    (".molecule_ai", "link"),
    (".molecule_ai", "directory"),
    ("skills", "link"),
    ("skills/helper", "link"),
    ("skills/helper/SKILL.md", "link"),
    (".claude", "link"),
    (".claude/hooks", "link"),
    (".claude/hooks/guard.sh", "pipe"),
    (".claude/settings.json", "link"),
    ("CLAUDE.md", "link"),
    ("CLAUDE.md", "pipe"),
    ("CLAUDE.md", "directory"),
]
# With everything under attack most requests are refused at the first directory; with these more of them get as far as changing something.
MIXES = {
    "everything": ATTACKS,
    "inner": [(path, kind) for path, kind in ATTACKS if path not in ("plugins", "plugins/ecc", ".molecule_ai")],
    "placed": [(path, kind) for path, kind in ATTACKS if not path.startswith(("plugins", ".molecule_ai"))],
}
# What the runtime places of the plugin, written again and again so that there is something to remove.
PLACED = {
    "CLAUDE.md": "mine\n# Plugin: ecc / rule: one.md\n\n# One\n",
    "skills/helper/SKILL.md": "helper\n",
    ".claude/hooks/guard.sh": "#!/bin/sh\n",
    ".claude/settings.json": '{"env": {"X": "1"}, "mine": 2}',
}


def place(config: pathlib.Path) -> None:
    """Be the runtime at its start, as far as the links allow."""
    for path, content in PLACED.items():
        with contextlib.suppress(OSError):
            (config / path).parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(config / path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)
            with os.fdopen(descriptor, "w") as file:
                file.write(content)


def plant(spare: pathlib.Path, kind: str, target: pathlib.Path) -> None:
    """Make the thing to exchange with, unless it is there."""
    with contextlib.suppress(OSError):
        if kind == "link":
            spare.symlink_to(target)
        elif kind == "pipe":
            os.mkfifo(spare)
        else:
            spare.mkdir()


def attack(config: pathlib.Path, canary: pathlib.Path, attacks: list[tuple[str, str]]) -> int:
    """Exchange until the standard input ends; return how often it worked."""
    spares = config / "spares"
    spares.mkdir(exist_ok=True)
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    pairs = [(config / path, spares / str(number), kind, canary / path) for number, (path, kind) in enumerate(attacks)]
    done = 0
    for step in itertools.count():
        path, spare, kind, target = pairs[step * 7 % len(pairs)]
        plant(spare, kind, target)
        if renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(spare), RENAME_EXCHANGE) == 0:
            done += 1
            # Let it be for a moment; sometimes it stays until the next turn.
            if step % 3:
                renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(spare), RENAME_EXCHANGE)
        if step % 50 == 0:
            place(config)
            if select.select([sys.stdin], [], [], 0)[0]:
                return done
        if step % 500 == 0 and not (config / ".molecule_ai").is_symlink():
            # Nothing gets anywhere with a state directory that is ours.
            with contextlib.suppress(OSError):
                if (config / ".molecule_ai").stat().st_uid == os.getuid():
                    shutil.rmtree(config / ".molecule_ai")
    return done


def main() -> None:
    """Attack."""
    os.umask(0)
    print("ready", flush=True)
    print(attack(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), MIXES[sys.argv[3]]), flush=True)


if __name__ == "__main__":
    main()
