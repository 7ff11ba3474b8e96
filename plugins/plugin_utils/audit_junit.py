# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as JUnit XML, which CI systems show: one test suite for each workspace, one test case for each of its plugins.

Sources of the inventory that failed are a suite of their own.
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from xml.etree import ElementTree

from ..module_utils.printable import printable
from .audit_record import Record
from .audit_report import Report

# XML 1.0 has no way to write these, not even as a reference. All but the last two are escaped already.
_INVENTORY = "(inventory)"
_NOT_IN_XML = re.compile("[\ufffe\uffff]")


def as_junit(report: Report) -> str:
    """Return the XML. Drift is a failure, what could not be looked at an error, an external workspace skipped."""
    root = ElementTree.Element("testsuites", name="molecule_ai.workspace audit", time=f"{_seconds(report):.3f}")
    if report["failures"]:
        _inventory_suite(root, report["failures"])
    for record in report["workspaces"]:
        _suite(root, record)
    _count(root)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _inventory_suite(root: ElementTree.Element, failures: Sequence[dict[str, str]]) -> None:
    """Add the sources of the inventory that failed: nobody knows which workspaces they would have named."""
    suite = ElementTree.SubElement(root, "testsuite", name=_INVENTORY)
    for failure in failures:
        name = " ".join(filter(None, (failure["inventory"], failure["source"]))) or failure["type"] or _INVENTORY
        case = ElementTree.SubElement(suite, "testcase", classname=_INVENTORY, name=_text(name))
        ElementTree.SubElement(case, "error", type="unknown", message=_text(failure["reason"]))
    _count(suite)


def _suite(root: ElementTree.Element, record: Record) -> None:
    host = _text(record["host"])
    suite = ElementTree.SubElement(root, "testsuite", name=host)
    if record["checked"]:
        suite.set("timestamp", _text(record["checked"]))
    properties = ElementTree.SubElement(suite, "properties")
    for key in ("workspace_id", "tier", "runtime", "state"):
        if record[key]:
            ElementTree.SubElement(properties, "property", name=key, value=_text(record[key]))
    if record["state"] in ("unknown", "none", "external") or record["reason"] or not record["plugins"]:
        _workspace_case(suite, host, record)
    for plugin in record["plugins"]:
        case = ElementTree.SubElement(suite, "testcase", classname=host, name=_text(plugin["name"]))
        if plugin["state"] != "in_sync":
            failure = ElementTree.SubElement(case, "failure", type=plugin["state"], message=f"{plugin['state']}: {plugin['drift_count']} differences")
            failure.text = _text("\n".join(_drift_line(entry) for entry in plugin["drift"]))
    _count(suite)


def _count(element: ElementTree.Element) -> None:
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(attribute, str(len(element.findall(f".//{tag}"))))


def _workspace_case(suite: ElementTree.Element, host: str, record: Record) -> None:
    """Add what is true of the workspace as a whole."""
    case = ElementTree.SubElement(suite, "testcase", classname=host, name="(workspace)")
    state, reason = record["state"], _text(record["reason"] or "")
    if state == "external":
        ElementTree.SubElement(case, "skipped", message=reason)
    elif state in ("unknown", "none"):
        ElementTree.SubElement(case, "error", type=state, message=reason)
    elif state == "drift":
        ElementTree.SubElement(case, "failure", type=state, message=reason)


def _drift_line(entry: dict[str, str]) -> str:
    return f"{entry['kind']} {entry['path'] or '.'}: expected {entry['expected']}, observed {entry['observed']}"


def _text(text: str) -> str:
    lines = [printable(line) for line in text.split("\n")]
    return _NOT_IN_XML.sub("\ufffd", "\n".join(lines))


def _seconds(report: Report) -> float:
    if not report["started"] or not report["finished"]:
        return 0.0
    start, end = (datetime.fromisoformat(report[key].replace("Z", "+00:00")) for key in ("started", "finished"))
    return max(0.0, (end - start).total_seconds())
