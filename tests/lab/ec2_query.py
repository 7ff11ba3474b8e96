# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EC2 Query protocol: numbered parameters in, XML out, filters and pages in between."""
from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from .aws_errors import AwsError

Record = dict[str, Any]
# A filter's name -> what it looks at; names ending in ":" take a suffix (tag:<key>).
Extractors = Mapping[str, Callable[[Record, str], Sequence[str]]]


def numbered(parameters: Mapping[str, str], name: str) -> list[str]:
    """The values of ``name.1``, ``name.2``, … in their order."""
    found = {int(match.group(1)): value for key, value in parameters.items() if (match := re.fullmatch(rf"{re.escape(name)}\.(\d+)", key))}
    return [found[number] for number in sorted(found)]


def filters(parameters: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """``Filter.N.Name`` with its ``Filter.N.Value.M``."""
    numbers = sorted({int(match.group(1)) for key in parameters if (match := re.match(r"Filter\.(\d+)\.", key))})
    return [(parameters.get(f"Filter.{number}.Name", ""), numbered(parameters, f"Filter.{number}.Value")) for number in numbers]


def select(records: Sequence[Record], wanted: Sequence[tuple[str, list[str]]], extractors: Extractors) -> list[Record]:
    """The records that pass every filter (any of its values; ``*`` and ``?`` are wildcards).  Raises AwsError for an unknown filter."""
    for name, values in wanted:
        extract, suffix = _extractor(name, extractors)
        patterns = [_pattern(value) for value in values]
        records = [record for record in records if any(pattern.fullmatch(text) for text in extract(record, suffix) for pattern in patterns)]
    return list(records)


def _extractor(name: str, extractors: Extractors) -> tuple[Callable[[Record, str], Sequence[str]], str]:
    if name in extractors:
        return extractors[name], ""
    prefix, colon, suffix = name.partition(":")
    if colon and prefix + colon in extractors:
        return extractors[prefix + colon], suffix
    raise AwsError("InvalidParameterValue", f"The filter '{name}' is invalid")


def _pattern(value: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|.", value, re.DOTALL)
    wildcards = {"*": ".*", "?": "."}
    return re.compile("".join(wildcards.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)


def page(records: list[Record], parameters: Mapping[str, str], limits: tuple[int, int], page_size: int) -> tuple[list[Record], str | None]:
    """One page of ``records`` and the token of the next.  Raises AwsError for a bad MaxResults or NextToken."""
    size = page_size
    if "MaxResults" in parameters:
        text = parameters["MaxResults"]
        if not re.fullmatch(r"\d{1,5}", text) or not limits[0] <= int(text) <= limits[1]:
            raise AwsError("InvalidParameterValue", f"Value ( {text} ) for parameter maxResults is invalid. "
                           f"Expecting a value between {limits[0]} and {limits[1]}.")
        size = min(int(text), page_size)
    start = _offset(parameters["NextToken"]) if "NextToken" in parameters else 0
    following = start + size
    return records[start:following], _token(following) if following < len(records) else None


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"page from {offset}".encode()).decode()


def _offset(token: str) -> int:
    try:
        match = re.fullmatch(r"page from (\d+)", base64.urlsafe_b64decode(token.encode()).decode())
    except (binascii.Error, ValueError):
        match = None
    if match is None:
        raise AwsError("InvalidParameterValue", f"Unable to parse pagination token {token!r}")
    return int(match.group(1))


def xml(name: str, value: Any) -> str:
    """``value`` as element ``name``: mappings nest, sequences become ``<item>`` elements, None is left out."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        inner = "".join(xml(key, each) for key, each in value.items())
    elif isinstance(value, (list, tuple)):
        inner = "".join(xml("item", each) for each in value)
    elif isinstance(value, bool):
        inner = "true" if value else "false"
    else:
        inner = escape(str(value))
    return f"<{name}>{inner}</{name}>"


def response(action: str, request_id: str, content: Mapping[str, Any]) -> str:
    """The whole answer document of an EC2 action."""
    body = xml(f"{action}Response", {"requestId": request_id, **content})
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + body.replace(">", ' xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">', 1)
