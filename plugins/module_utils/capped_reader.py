# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""What an archive is read through, on the controller and on the workspace: a small one may expand to fill the disk."""
from __future__ import annotations

import gzip
from typing import Callable

from .plugin_tree import Limits

CHUNK = 1024 * 1024
# Tar spends a header and padding on each member, and a pax header for a long name.
_OVERHEAD_PER_ENTRY = 4096
_OVERHEAD = 64 * 1024


class CappedReader:
    """The uncompressed bytes of ``stream``, as long as they are not more than a tar of a plugin within ``limits`` may have.

    Otherwise ``refusal`` makes the error to raise.
    """

    def __init__(self, stream: gzip.GzipFile, limits: Limits, refusal: Callable[[], Exception]) -> None:
        self._stream = stream
        self._left = limits.max_bytes + limits.max_entries * _OVERHEAD_PER_ENTRY + _OVERHEAD
        self._refusal = refusal

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes; fewer only at the end."""
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise self._refusal()
        return data

    def finish(self) -> None:
        """Read to the end: tarfile stops at its end marker, and gzip's checksum, which tells a damaged archive, lies behind the last byte."""
        while self.read(CHUNK):
            pass
