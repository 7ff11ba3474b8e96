# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the formats that programs read, made from their JSON schemas."""
from __future__ import annotations

import json
import typing

from markup import REPOSITORY

PAGE = REPOSITORY / "docs" / "formats.md"
Schema = dict[str, typing.Any]

_HEAD = """\
# Formats: receipts and reports

<!-- Made by tests/build/formats_page.py; change the schemas docs/*.schema.json instead. -->

What programs may rely on. A change that a reader of the present version would misunderstand gets another `version`. The page `drift.html`, the table on the
terminal and the texts of errors are for people and may change at any time.
"""
_FORMATS = (
    ("receipt-1.schema.json", "`receipts/<name>.json` on a workspace",
     "Below `.molecule_ai` in the config dir, see [what is on the workspace](plugins.md#what-is-on-the-workspace), which shows one. It is read by root only. "
     "A receipt that does not fit is ignored, with a warning."),
    ("drift-1.schema.json", "`drift.json`, the report of an audit", "Written by the callback `drift` and by `molecule-audit`, see [audits](audit.md)."),
)


def page() -> str:
    """The page's text."""
    parts = [_HEAD]
    for name, title, text in _FORMATS:
        schema = json.loads((REPOSITORY / "docs" / name).read_text(encoding="utf-8"))
        parts.append(f"\n## {title}\n\n{text} Schema: [{name}]({name}).\n\n| field | type | |\n|---|---|---|\n")
        parts += [f"| `{path}` | {kind} | {meaning} |\n" for path, kind, meaning in _fields(schema, schema, "")]
    return "".join(parts)


def _fields(schema: Schema, root: Schema, above: str) -> typing.Iterator[tuple[str, str, str]]:
    """Path, type and meaning of each field below ``schema``, depth first."""
    schema = _resolved(schema, root)
    if "items" in schema:
        yield from _fields(schema["items"], root, above + "[]")
    for name, field in schema.get("properties", {}).items():
        path = f"{above}.{name}".lstrip(".")
        resolved = _resolved(field, root)
        yield path, _type(resolved, root), _escaped(resolved.get("description", ""))
        yield from _fields(resolved, root, path)


def _resolved(schema: Schema, root: Schema) -> Schema:
    """The schema with what it refers to; its own words are stronger."""
    if "$ref" not in schema:
        return schema
    referred = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    return {**_resolved(referred, root), **{key: value for key, value in schema.items() if key != "$ref"}}


def _type(schema: Schema, root: Schema) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(_resolved(each, root), root) for each in schema["anyOf"])
    if schema.get("format") == "date-time":
        return "time (RFC 3339, UTC)"
    if "type" not in schema:
        return "string or null"
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    text = " or ".join(kinds)
    if "items" in schema:
        text += f" of {_type(_resolved(schema['items'], root), root)}s"
    elif "additionalProperties" in schema and isinstance(schema["additionalProperties"], dict):
        text += f", values: {_type(_resolved(schema['additionalProperties'], root), root)}"
    return text


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
