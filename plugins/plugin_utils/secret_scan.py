# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a plugin seems to contain secrets that somebody forgot in it, before it is spread over a fleet.

The patterns are those of detect-secrets (https://github.com/Yelp/detect-secrets), of which only the detectors of well-defined formats are used: no guesses
by entropy or by names like "password", which every plugin's documentation sets off, and none of its checks that send a candidate to its service. What is
found is told by file, line and kind. The text itself leaves this module in no way.
"""
from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

from ..module_utils.errors import InvalidInputError
from ..module_utils.printable import printable

_MAX_FILE = 1024 * 1024
_MAX_TOTAL = 32 * 1024 * 1024
_MAX_FOUND = 100
_SHOWN = 5
# Pieces of long lines overlap by more than a token has: some patterns take quadratic time in the length of a line.
_PIECE, _OVERLAP = 4096, 512
_BINARY_PROBE = 8192
_DETECTORS = (
    ("aws", "AWSKeyDetector"), ("azure_storage_key", "AzureStorageKeyDetector"), ("basic_auth", "BasicAuthDetector"), ("discord", "DiscordBotTokenDetector"),
    ("github_token", "GitHubTokenDetector"), ("gitlab_token", "GitLabTokenDetector"), ("jwt", "JwtTokenDetector"), ("npm", "NpmDetector"),
    ("openai", "OpenAIDetector"), ("private_key", "PrivateKeyDetector"), ("pypi_token", "PypiTokenDetector"), ("sendgrid", "SendGridDetector"),
    ("slack", "SlackDetector"), ("stripe", "StripeDetector"), ("telegram_token", "TelegramBotTokenDetector"),
)
# Formats that detect-secrets does not know: https://docs.github.com/en/authentication (fine-grained tokens), https://docs.anthropic.com/en/api (API keys).
_OWN_PATTERNS = {
    "GitHub Token": re.compile(r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    "Anthropic API Key": re.compile(r"sk-ant-[A-Za-z0-9]+-[A-Za-z0-9_-]{20,}"),
}
# What documentation writes where a secret would stand.
_PLACEHOLDER = re.compile(r"(?i).*(example|placeholder|x{6}|\*{3}|your[_-]).*|[<{$%].*|(user(name)?|pass(word|wd)?|pw|pwd|secret|token|key|changeme)")


@dataclass(frozen=True)
class SecretScan:
    """What was found, as ``{"path", "line", "kind"}`` (of at most 100 places), and the files that were too large to look into."""

    found: tuple[dict[str, Any], ...]
    skipped: tuple[str, ...]

    def warnings(self, shown: str) -> list[str]:
        """Return what a user should know of the source ``shown``, without anything secret."""
        told = []
        if self.found:
            places = ", ".join(f"{entry['path']} line {entry['line']} ({entry['kind']})" for entry in self.found[:_SHOWN])
            more = f" and {len(self.found) - _SHOWN} more" if len(self.found) > _SHOWN else ""
            told.append(
                f"{shown} seems to contain secrets, which every agent that has the plugin can read: {places}{more}; revoke them, take them out, or mark a "
                "line that is none with 'pragma: allowlist secret'"
            )
        if self.skipped:
            told.append(f"{shown} was not looked through for secrets as a whole: {', '.join(self.skipped[:_SHOWN])} and what follows is too large")
        return told


def scan_bundle(bundle: Path) -> SecretScan | None:
    """Look through the text files of a bundle, which are the bytes that would be sent; ``None`` when detect-secrets is not installed."""
    try:
        find = _finder()
    except ImportError:
        return None
    found: list[dict[str, Any]] = []
    skipped: list[str] = []
    left = _MAX_TOTAL
    with tarfile.open(bundle, mode="r|gz") as tar:
        for member in tar:
            if not member.isreg() or len(found) >= _MAX_FOUND:
                continue
            content = tar.extractfile(member)
            if content is None or b"\0" in (probe := content.read(_BINARY_PROBE)):
                continue
            if member.size > min(_MAX_FILE, left):
                skipped.append(printable(member.name))
                continue
            left -= member.size
            text = (probe + content.read()).decode("utf-8", "replace")
            found += [{"path": printable(member.name), "line": line, "kind": kind} for line, kind in find(member.name, text)]
    return SecretScan(tuple(found[:_MAX_FOUND]), tuple(skipped))


def text_scanner() -> Callable[[str, str], bool] | None:
    """Return what tells whether a file (name, text) seems to contain a secret; ``None`` when detect-secrets is not installed."""
    try:
        find = _finder()
    except ImportError:
        return None
    return lambda name, text: any(True for _finding in find(name, text))


def require_none(scan: SecretScan | None, shown: str) -> None:
    """Raise :class:`InvalidInputError` unless all was looked through and nothing found."""
    if scan is None:
        raise InvalidInputError(f"{shown} cannot be looked through for secrets: install the Python package detect-secrets on the controller")
    for warning in scan.warnings(shown):
        raise InvalidInputError(warning)


def _finder() -> Callable[[str, str], Iterator[tuple[int, str]]]:
    """Return what yields line number and kind of each finding in a file; raise ``ImportError`` without detect-secrets."""
    from importlib import import_module

    from detect_secrets.filters.allowlist import is_line_allowlisted
    from detect_secrets.util.code_snippet import get_code_snippet

    detectors = [getattr(import_module(f"detect_secrets.plugins.{module}"), name)() for module, name in _DETECTORS]

    def candidates(text: str) -> Iterator[tuple[str, str]]:
        for detector in detectors:
            yield from ((detector.secret_type, secret) for secret in detector.analyze_string(text))
        for kind, pattern in _OWN_PATTERNS.items():
            yield from ((kind, secret) for secret in pattern.findall(text))

    def find(name: str, text: str) -> Iterator[tuple[int, str]]:
        lines = text.split("\n")
        # No pattern is anchored, so what is in no text is in no line of it: most files are done after this.
        if not any(True for _candidate in candidates("\n".join(piece for line in lines for piece in _pieces(line)))):
            return
        for number, line in enumerate(lines, 1):
            kinds = {kind for piece in _pieces(line) for kind, secret in candidates(piece) if not _PLACEHOLDER.fullmatch(secret)}
            if kinds and not is_line_allowlisted(name, line, get_code_snippet(lines, number)):
                yield from ((number, kind) for kind in sorted(kinds))

    return find


def _pieces(line: str) -> Iterable[str]:
    return [line] if len(line) <= _PIECE else [line[start:start + _PIECE] for start in range(0, len(line), _PIECE - _OVERLAP)]
