# Copyright (c) The molecule_ai.workspace maintainers
# BSD-2-Clause (see LICENSES/BSD-2-Clause.txt or https://opensource.org/license/bsd-2-clause)
# SPDX-License-Identifier: BSD-2-Clause
"""The text that the runtime's standard adapter appends to ``CLAUDE.md``, found again and cut out.

Per rule and fragment the adapter writes a header line, a blank line, the file's content and, in most releases, a blank line. The
content may hold blank lines and lines that look like headers, so a block is recognised by its *whole* content and never by looking for its end.
"""
from __future__ import annotations

import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .directory_files import LeaveAlone

# What the platform's adapter never takes for a fragment, compared in lower case (workspace/plugins_registry/builtins.py).
NO_FRAGMENTS = frozenset(["readme.md", "changelog.md", "license.md", "contributing.md"])

_ANY_HEADER = re.compile(r"# Plugin: \S+ / (?:rule|fragment): ")


# Lines compared while cutting. A text made for it, of headers that repeat in a rule and in the memory file, would keep us busy for days.
_MAX_COMPARISONS = 20_000_000


class Cut(NamedTuple):
    """The text without the plugin's blocks, and what was found: header lines in the order of the text, each once."""

    text: str
    removed: List[str]
    changed: List[str]


class _Work:
    """Counts the lines that were compared."""

    def __init__(self) -> None:
        self.done = 0

    def require_bounded(self) -> None:
        """Raise :class:`LeaveAlone` when there has been too much of it."""
        if self.done > _MAX_COMPARISONS:
            raise LeaveAlone("repeats itself too often to be looked through")


def is_markdown(name: str) -> bool:
    """Tell whether the adapter takes ``name`` for Markdown: a case-sensitive suffix with something before it."""
    return name.endswith(".md") and name != ".md"


def is_fragment(name: str) -> bool:
    """Tell whether a file ``name`` in the plugin's root is a prompt fragment."""
    return is_markdown(name) and name.lower() not in NO_FRAGMENTS


def header(plugin_name: str, kind: str, file_name: str) -> str:
    """Return the header line of a block; ``kind`` is ``rule`` or ``fragment``."""
    return f"# Plugin: {plugin_name} / {kind}: {file_name}"


def cut_blocks(text: str, plugin_name: str, contents_of: Callable[[str], Sequence[str]]) -> Cut:
    """Cut every block out of ``text`` that equals what the plugin's file would have written.

    ``contents_of`` returns what the file behind a header line may have held, one for each known version of the plugin; nothing when there is no such
    file. Where several are found, the longest is the block: one version may be the beginning of another. It is also asked for the headers of other
    plugins, because their blocks may quote one of ours and stay whole. Everything else in the text stays byte for byte.

    Of the blank lines that follow a block, those in front of another header or of the end go with it. In front of other text at most one
    goes, and none where two lines of other text would otherwise run into one paragraph.

    Raises :class:`LeaveAlone` for a text that repeats itself so often that looking through it takes for ever.
    """
    own_header = re.compile(rf"# Plugin: {re.escape(plugin_name)} / (?:rule|fragment): ")
    lines = _split_lines(text)
    bare = [_bare(line) for line in lines]
    contents: Dict[str, List[List[str]]] = {}
    kept_lines: List[str] = []
    removed: Dict[str, None] = {}
    changed: Dict[str, None] = {}
    position = 0
    work = _Work()
    while position < len(lines):
        line = bare[position]
        end = None
        if _ANY_HEADER.match(line):
            if line not in contents:
                contents[line] = [_written_lines(content) for content in contents_of(line)]
            ends = [_end_of_block(bare, position + 1, content, work) for content in contents[line]]
            end = max((found for found in ends if found is not None), default=None)
        if own_header.match(line):
            if end is not None:
                removed[line] = None
                position = _after_blank_lines(bare, end, kept_lines)
                continue
            changed[line] = None
        end = end or position + 1
        kept_lines += lines[position:end]
        position = end
    return Cut("".join(kept_lines), list(removed), list(changed))


def _split_lines(text: str) -> List[str]:
    r"""Split at ``\n`` only (``str.splitlines`` knows ten more separators), line ends kept."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _bare(line: str) -> str:
    """Return the line without its end; an editor may have made it a Windows one."""
    if line.endswith("\n"):
        line = line[:-1]
    return line[:-1] if line.endswith("\r") else line


def _written_lines(content: str) -> List[str]:
    """Return the lines that the adapter writes of a file: text mode unifies line ends, and the content is stripped."""
    return content.replace("\r\n", "\n").replace("\r", "\n").strip().split("\n")


def _end_of_block(bare: List[str], start: int, content: List[str], work: _Work) -> Optional[int]:
    """Return the index behind the content when exactly it follows (blank lines first), None otherwise."""
    if content == [""]:
        return start
    while start < len(bare) and not bare[start].strip():
        start += 1
    end = start + len(content)
    if end > len(bare):
        return None
    last = len(content) - 1
    work.require_bounded()
    for index, expected in enumerate(content):
        work.done += 1
        line = bare[start + index]
        # A release that does not strip leaves white space at the two ends of the content.
        if index == 0:
            line = line.lstrip()
        if index == last:
            line = line.rstrip()
        if line != expected:
            return None
    return end


def _after_blank_lines(bare: List[str], end: int, kept_lines: List[str]) -> int:
    """Return the index of the first line behind a block that is not part of it."""
    following, first_blank = end, end
    while following < len(bare) and not bare[following].strip():
        following += 1
    if following == len(bare) or _ANY_HEADER.match(bare[following]):
        return following
    would_join = bool(kept_lines) and bool(kept_lines[-1].strip()) and following - first_blank == 1
    return first_blank if would_join or following == first_blank else first_blank + 1


def split_header(line: str) -> Tuple[str, str]:
    """Return kind and file name of a header line that :func:`cut_blocks` reported."""
    kind, _separator, file_name = line.split(" / ", 1)[1].partition(": ")
    return kind, file_name
