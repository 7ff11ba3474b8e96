# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down what an AWX says of its own API: ``record_api.py URL TOKEN VERSION "WHERE IT IS FROM" > api.json``. Only reads (OPTIONS)."""
from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

ENDPOINTS = [
    "instance_groups", "organizations", "credential_types", "credentials", "execution_environments", "projects", "inventories", "inventory_sources",
    "notification_templates", "job_templates", "workflow_job_templates", "workflow_job_template_nodes", "schedules",
]
KEPT = ("type", "required", "choices", "default", "max_length", "min_value", "max_value")


def options(url: str, token: str, endpoint: str) -> dict[str, Any]:
    request = urllib.request.Request(f"{url}/api/v2/{endpoint}/", method="OPTIONS", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def fields(answer: dict[str, Any]) -> dict[str, Any]:
    """What can be written, and what can only be read."""
    write, read = answer["actions"]["POST"], answer["actions"]["GET"]
    return {
        "write": {name: {key: field[key] for key in KEPT if key in field} for name, field in sorted(write.items())},
        "read": sorted(set(read) - set(write)),
    }


def main(url: str, token: str, version: str, source: str) -> None:
    answers = {endpoint: options(url, token, endpoint) for endpoint in ENDPOINTS}
    recorded = {endpoint: fields(answer) for endpoint, answer in answers.items()}
    kinds = answers["notification_templates"]["actions"]["GET"]["notification_configuration"]
    configurations = {
        kind: {name: {"type": field["type"], "required": "default" not in field} for name, field in parameters.items()}
        for kind, parameters in kinds.items() if isinstance(parameters, dict)
    }
    found = {"source": source, "version": version, "endpoints": recorded, "notification_configurations": configurations}
    json.dump(found, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
