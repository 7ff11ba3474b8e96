# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Synthetic audits: results as Ansible hands them to a callback, in every state, and with names that an attacker would choose."""
from __future__ import annotations

import random
from typing import Any

from ansible_collections.molecule_ai.workspace.plugins.plugin_utils.audit_collector import AuditCollector

STARTED = 1_795_341_600.0
BACKEND = "molecule_ai.workspace.workspace_backend_facts"
PLUGIN = "molecule_ai.workspace.molecule_plugin"
RUN = {"controller": "ops-1", "user": "deploy", "playbook": "audit.yml", "job": {"id": "4711", "template": "nightly audit"}}

FAILED_SOURCE = {"inventory": "fleet.workspaces.yml", "source": "rack-2", "type": "docker", "reason": "the Docker engine did not answer within 30 s"}

# What an agent may call a file, or write into one.
HOSTILE = [
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "@@script@@",
    "javascript:window.pwned=1",
    "\u202egnp.exe\u2028\u0000\x1b[31m",
    "<!--<script>",
    "]]>&amp;{{7*7}}",
    "\ud800\udcff\ufffe\uffff",
]


def workspace_id(number: int) -> str:
    return f"a1fa0000-1111-4aaa-8bbb-{number:012d}"


def backend(number: int, tier: str = "docker", lookup: str = "found", **more: Any) -> dict[str, Any]:
    fact = {"tier": tier, "lookup": lookup, "reason": "its container is running", "workspace_id": workspace_id(number), "runtime": "claude-code", **more}
    return {"changed": False, "ansible_facts": {"workspace_backend": fact}}


def plugin(name: str, version: str = "1.0.0", *, state: str = "present", installed: str | None = "1.0.0", drift_count: int = 0) -> dict[str, Any]:
    return {
        "name": name, "state": state, "action": "repaired" if drift_count else "none", "digest": "sha256:" + "1" * 64,
        "previous_digest": None if installed is None else "sha256:" + "2" * 64, "version": version, "installed_version": installed, "revision": None,
        "source": f"plugins/{name}", "removed_placements": [], "kept": [], "drift_count": drift_count,
    }


def drift(name: str, kind: str, path: str = "", expected: str = "file of 38 bytes", observed: str = "file of 12 bytes") -> dict[str, str]:
    return {"plugin": name, "kind": kind, "path": path, "expected": expected, "observed": observed}


def inspection(plugins: list[dict[str, Any]], differences: list[dict[str, str]] | None = None, **more: Any) -> dict[str, Any]:
    found = differences or []
    return {"changed": bool(found), "plugins": plugins, "drift": found, "drift_count": len(found), "unmanaged": [], "restart_required": False, **more}


DIFF = {
    "before_header": "plugins/careful-bash/rules/careful-bash.md", "after_header": "plugins/careful-bash/rules/careful-bash.md",
    "before": "# Careful\ntampered\n", "after": "# Careful\nBefore a command that deletes:\n",
}


def five_states() -> AuditCollector:
    """One workspace or more in each of the five states, each plugin state at least once."""
    collector = AuditCollector(STARTED, RUN)
    names = ["in-sync", "tampered", "unreachable", "failed-lookup", "outside", "gone", "never", "waiting"]
    collector.expect({name: workspace_id(index) for index, name in enumerate(names)})
    for index, name in enumerate(names):
        if name not in ("outside", "gone", "failed-lookup", "never"):
            collector.result(name, BACKEND, backend(index), STARTED + index)
    collector.result("in-sync", PLUGIN, inspection([plugin("careful-bash"), plugin("ecc", "2.0.1", installed="2.0.1")]), STARTED + 10)
    differences = [
        drift("careful-bash", "modified", "rules/careful-bash.md"), drift("careful-bash", "mode", "hooks/guard.sh", "0755", "0644"),
        drift("ecc", "missing", "", "installed, sha256:11", "absent"), drift("old-plugin", "extra", "", "absent", "installed, sha256:22"),
        drift("experiment", "unmanaged", "", "absent", "installed"), drift("superpowers", "placement", "CLAUDE.md", "as the plugin has it", "changed"),
    ]
    wanted = [
        plugin("careful-bash", drift_count=2), plugin("ecc", "2.0.1", installed=None, drift_count=1),
        plugin("old-plugin", state="absent", drift_count=1), plugin("superpowers", drift_count=1),
    ]
    collector.result("tampered", PLUGIN, inspection(wanted, differences, diff=[DIFF]), STARTED + 11)
    collector.failure("unreachable", PLUGIN, {"unreachable": True, "msg": "Failed to reach the instance i-0a1b2c3d4e5f60002: no tunnel"}, STARTED + 12)
    collector.result("failed-lookup", BACKEND, backend(3, "none", "failed", reason="the Docker engine did not answer"), STARTED + 13)
    collector.result("outside", BACKEND, backend(4, "external", download_hint="download it from /plugins/<name>/download"), STARTED + 14)
    collector.result("gone", BACKEND, backend(5, "none", "not_found", reason="no container and no instance"), STARTED + 15)
    waiting = [drift("careful-bash", "restart_pending", "", "restarted", "not restarted since the last change")]
    collector.result("waiting", PLUGIN, inspection([plugin("careful-bash"), plugin("ecc", "2.0.1", installed="2.0.1")], waiting), STARTED + 16)
    return collector


def hostile() -> AuditCollector:
    """Each hostile text everywhere where an inventory, a workspace or an error could put it."""
    collector = AuditCollector(STARTED, {**RUN, "controller": HOSTILE[0], "job": {"id": HOSTILE[1]}})
    collector.incomplete([dict.fromkeys(("inventory", "source", "type", "reason"), text) for text in HOSTILE])
    collector.expect({f"{text}{index}": text for index, text in enumerate(HOSTILE)})
    for index, text in enumerate(HOSTILE):
        host = f"{text}{index}"
        collector.result(host, BACKEND, backend(index, runtime=text, reason=text, workspace_id=text), STARTED)
        if index % 3 == 2:
            collector.failure(host, PLUGIN, {"msg": text}, STARTED)
            continue
        differences = [drift("ecc", "modified", text, text, text), drift(text, "unmanaged", "", text, text)]
        diffs = [{"before_header": text, "after_header": f"plugins/ecc/{text}", "before": f"{text}\n", "after": f"{text}!\n"}, {"prepared": text}]
        collector.result(host, PLUGIN, inspection([plugin("ecc", text, installed=text, drift_count=2)], differences, diff=diffs, warnings=[text]), STARTED)
    return collector


def fleet(workspaces: int, plugins: int, drifted: float = 0.05, diffs: bool = True) -> AuditCollector:
    """A large fleet with a fixed random share of drift."""
    choose = random.Random(5)
    words = ["browser-automation", "careful-bash", "ecc", "superpowers", "release-notes", "sql-review", "incident-helper", "pr-triage", "log-search",
             "calendar", "invoice-check", "translation", "unit-tests", "security-scan", "onboarding", "metrics", "k8s-tools", "style-guide", "crm", "mail"]
    names = [words[index % len(words)] + (f"-{index // len(words) + 1}" if index >= len(words) else "") for index in range(plugins)]
    collector = AuditCollector(STARTED, RUN)
    teams = ["support", "billing", "research", "sales", "legal", "platform"]
    hosts = [f"{teams[index % len(teams)]}-agent-{index:04d}" for index in range(workspaces)]
    collector.expect({host: workspace_id(index) for index, host in enumerate(hosts)})
    for index, host in enumerate(hosts):
        at = STARTED + index * 0.08
        fate = choose.random()
        if fate < 0.004:
            collector.result(host, BACKEND, backend(index, "none", "not_found", reason="no container and no EC2 instance was found for it"), at)
        elif fate < 0.01:
            collector.failure(host, BACKEND, {"msg": "the Docker engine at ssh://engine-3 did not answer within 30 s: check that it runs"}, at)
        elif fate < 0.02:
            collector.result(host, BACKEND, backend(index, "external", download_hint="GET /workspaces/<id>/plugins/<name>/download"), at)
        else:
            collector.result(host, BACKEND, backend(index, choose.choice(["docker", "eic"])), at)
            collector.result(host, PLUGIN, _fleet_inspection(choose, names, drifted, diffs), at)
    return collector


def _fleet_inspection(choose: random.Random, names: list[str], drifted: float, diffs: bool) -> dict[str, Any]:
    wanted = [plugin(name, "1.4.0", installed=choose.choice(["1.4.0", "1.4.0", "1.4.0", "1.3.2"])) for name in names if choose.random() < 0.85]
    differences: list[dict[str, str]] = []
    shown = []
    if wanted and choose.random() < drifted:
        for item in choose.sample(wanted, choose.randint(1, min(3, len(wanted)))):
            kind = choose.choice(["modified", "missing", "mode", "extra", "placement", "restart_pending"])
            item.update(drift_count=1, installed_version=None if kind == "modified" else item["installed_version"])
            path = "" if kind in ("missing", "restart_pending") else choose.choice(["rules/guidelines.md", "hooks/guard.sh", "skills/helper/SKILL.md"])
            differences.append(drift(item["name"], kind, path))
            if diffs and kind == "modified":
                header = f"plugins/{item['name']}/{path}"
                shown.append({"before_header": header, "after_header": header, "before": "# Guidelines\nDo as you like.\n", "after": DIFF["after"]})
        if choose.random() < 0.3:
            differences.append(drift("experiment", "unmanaged", "", "absent", "installed"))
    return inspection(wanted, differences, diff=shown)
