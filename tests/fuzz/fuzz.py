# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz every target for some seconds each and print one line for each: how many inputs, and what failed. See ``tests/fuzz/run``."""
from __future__ import annotations

import argparse
import atexit
import os
import pathlib
import re
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / ".cache" / "collections"))
_INSTRUMENTED = "ansible_collections.molecule_ai.workspace.plugins"
_LINES_OF_A_FAILURE = 25


def child(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=[_INSTRUMENTED]):
        import targets
    atexit.register(targets.remove_scratch)
    atheris.Setup([name, *arguments], targets.TARGETS[name][0])
    atheris.Fuzz()


def fuzz(name: str, seeds: list[bytes], seconds: int, crashes: pathlib.Path) -> bool:
    """Run one target in a process of its own and print its line; return whether it held."""
    # libFuzzer ends the process without Python's own end, so its scratch directory goes with one of ours.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="corpus-") as corpus, tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as scratch:
        for number, seed in enumerate(seeds):
            (pathlib.Path(corpus) / f"seed-{number}").write_bytes(seed)
        limits = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=2048", "-max_len=65536", f"-artifact_prefix={crashes}/{name}-"]
        done = subprocess.run(
            [sys.executable, __file__, "--child", name, *limits, corpus], capture_output=True, text=True, errors="replace", check=False,
            timeout=seconds + 300, env={**os.environ, "FUZZ_SCRATCH": scratch},
        )
    output = done.stdout + done.stderr
    inputs = max([int(count) for count in re.findall(r"^#(\d+)\s", output, re.MULTILINE)] or [0])
    held = done.returncode == 0 and inputs > len(seeds)
    print(f"{name:15} {inputs:>9} inputs  {'no failure' if held else 'FAILED'}", flush=True)
    if not held:
        print("\n".join(output.splitlines()[-_LINES_OF_A_FAILURE:]), flush=True)
    return held


def main() -> int:
    """Fuzz what the command line says."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    try:
        import atheris  # noqa: F401
    except ImportError as error:
        print(f"fuzz: not run, because atheris is not available for this Python and platform ({error})")
        return 0
    import targets

    atexit.register(targets.remove_scratch)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("targets", nargs="*", choices=[[], *targets.TARGETS], metavar="TARGET", help=", ".join(targets.TARGETS))
    arguments = parser.parse_args()
    crashes = REPOSITORY / "tests" / "output" / "fuzz"
    crashes.mkdir(parents=True, exist_ok=True)
    results = [fuzz(name, targets.TARGETS[name][1](), arguments.seconds, crashes) for name in arguments.targets or targets.TARGETS]
    print(f"fuzz: {sum(results)} of {len(results)} targets without a failure, {arguments.seconds} s each" + ("" if all(results) else f"; inputs in {crashes}"))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
