# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plugins that are kept in sync: ten of ten files each, 2 MB in all, the same bytes in every run."""
from __future__ import annotations

import pathlib
import random
import shutil
from typing import Any

COUNT, FILES = 10, 10
FILE_BYTES = 20_000


def write(directory: pathlib.Path, count: int = COUNT, *, only: int | None = None, mebibytes: float = 0, seed: int = 1) -> list[dict[str, Any]]:
    """Write ``count`` plugins below ``directory`` (or rewrite number ``only`` of them) and return the task's list.

    ``mebibytes``: one more file of that much noise in each; another ``seed`` makes other bytes, which is a new version.
    """
    for number in range(count):
        if only is None or number == only:
            _write(directory / f"plugin-{number}", number, mebibytes, seed)
    return [{"name": f"plugin-{number}", "source": str(directory / f"plugin-{number}")} for number in range(count)]


def _write(root: pathlib.Path, number: int, mebibytes: float, seed: int) -> None:
    generator = random.Random(f"{number} {seed}")
    shutil.rmtree(root, ignore_errors=True)
    (root / "rules").mkdir(parents=True)
    (root / "skills" / "work").mkdir(parents=True)
    (root / "plugin.yaml").write_text(f"name: plugin-{number}\nversion: 1.0.{seed}\ndescription: one of the bench\n")
    for file in range(FILES - 2):
        (root / "skills" / "work" / f"page-{file}.md").write_text(_text(generator, FILE_BYTES))
    (root / "rules" / "rule.md").write_text(_text(generator, FILE_BYTES))
    if mebibytes:
        (root / "skills" / "work" / "noise.bin").write_bytes(generator.randbytes(int(mebibytes * 2**20)))


def _text(generator: random.Random, size: int) -> str:
    """Words, which compress as prose does."""
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 9))) for _word in range(400)]
    text = "# Page\n\n"
    while len(text) < size:
        text += " ".join(generator.choices(words, k=12)) + "\n"
    return text[:size]
