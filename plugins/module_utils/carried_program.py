# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The program that a workspace's Python reads from its standard input: our modules in memory, one request, one answer.

``plugin_utils.workspace_call`` sends it where the connection pipelines. Compared with an ordinary module, nothing is unpacked on the workspace,
nothing of Ansible is imported there, and no file lies where somebody else on the workspace could change it. The stream is

* this file's own text, which the command line executes before it calls :func:`run` with the stream,
* a line of JSON: ``{"entry": module, "check_mode": bool, "sizes": [bytes, bytes, bytes]}``, then as many bytes of
* the modules' sources (compressed JSON, ``{name: text}``), the request (JSON), and a file that goes with the request (may be empty).

The answer is one line: :data:`MARK`, then the JSON of :func:`request_answer.answer_to`.
"""
from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import io
import json
import sys
import types
import zlib
from typing import Any, BinaryIO, Mapping

MARK = "molecule_ai.workspace answers: "
PACKAGE = "molecule_ai_workspace"


class SourcesInMemory:
    """Finds and loads the modules of :data:`PACKAGE` from texts.

    A module is compiled and run when something of it is first used, not when another one says that it may need it: an inspection that finds
    nothing to do is not to pay for the code that would do it.
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = {PACKAGE: "", **{f"{PACKAGE}.{name}": text for name, text in sources.items()}}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return the specification of one of ours."""
        if fullname not in self._sources:
            return None
        loader = importlib.util.LazyLoader(self)  # type: ignore[arg-type] # a loader by its methods: importlib.abc would cost an import
        return importlib.machinery.ModuleSpec(fullname, loader, origin=fullname, is_package=fullname == PACKAGE)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave the making of the module to the interpreter."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the module's text."""
        exec(compile(self._sources[module.__name__], module.__name__, "exec"), module.__dict__)  # noqa: S102 - our own text


def run(stream: BinaryIO) -> str:
    """Carry out the one request that ``stream`` holds after this program, and return the line that answers it."""
    header = json.loads(stream.readline())
    parts = [stream.read(size) for size in header["sizes"]]
    if [len(part) for part in parts] != header["sizes"]:
        raise EOFError("the connection ended before the request was complete: nothing was done")
    sources, request = json.loads(zlib.decompress(parts[0])), json.loads(parts[1])
    sys.meta_path.insert(0, SourcesInMemory(sources))
    entry: Any = importlib.import_module(f"{PACKAGE}.{header['entry']}")
    answer_to = importlib.import_module(f"{PACKAGE}.request_answer").answer_to
    handle = functools.partial(entry.handle, attached=io.BytesIO(parts[2])) if parts[2] else entry.handle
    return MARK + json.dumps(answer_to(request, header["check_mode"], entry.changes, handle))
