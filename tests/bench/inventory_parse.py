# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long an inventory of many EC2 workspaces takes and how much memory, ours beside ``amazon.aws.aws_ec2``, on the same answers of EC2.

    .cache/venv/bin/python tests/bench/inventory_parse.py [--size 5000] [--runs 5] [--amazon-aws DIRECTORY]

The pages of DescribeInstances are made once by the lab's simulation and then served from memory, so the server costs next to nothing. Each measurement is a
process of its own that imports ansible-core first and then reads one inventory file, in turn; the table has the medians. ``--amazon-aws`` is a collections
path that holds ``amazon.aws`` (the Python package ``ansible`` has it); without it only ours is measured. The floor is ansible-core itself: a static file
in ``ini`` format with the same host names in the same groups and one variable each, and an empty one, which costs what every inventory costs.
"""
from __future__ import annotations

import argparse
import http.server
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import typing as t
import urllib.parse
from types import SimpleNamespace

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from lab import ec2_actions, ec2_query

RUNTIMES = ("claude-code", "hermes", "langgraph", "crewai", "autogen")
PAGE = 1000
OURS, FLOOR = "molecule_ai.workspace.workspaces", "a static ini file"

# Runs in the measured process: what ansible-inventory does before it prints.
CHILD = """
import json, sys, time
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
def peak():
    # in KiB; ru_maxrss would begin with what the process had that started this one
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
init_plugin_loader([])
before, start, used = peak(), time.perf_counter(), time.process_time()
manager = InventoryManager(loader=DataLoader(), sources=[sys.argv[1]])
wall, cpu = time.perf_counter() - start, time.process_time() - used
after = peak()
print(json.dumps({"hosts": len(manager.hosts), "groups": len(manager.groups), "wall": wall, "cpu": cpu, "memory": after, "growth": after - before}))
"""


def instances(size: int) -> list[dict[str, object]]:
    """Workspaces as the platform tags them, in ten organisations."""
    return [
        {
            "instance_id": f"i-{number:017x}", "state": "running", "private_ip": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "vpc_id": "vpc-0a1b2c3d4e5f60718", "subnet_id": "subnet-0a1b2c3d4e5f60718", "availability_zone": "us-east-2a",
            "tags": {
                "Name": f"workspace-{number:05d}", "WorkspaceID": f"{number:08x}-0000-4000-8000-{number:012x}", "Role": "workspace",
                "OrgID": f"7d0e4c1a-93b5-4f6e-8a2d-{number % 10:012x}", "Runtime": RUNTIMES[number % len(RUNTIMES)],
            },
        }
        for number in range(size)
    ]


def pages(size: int) -> dict[str, bytes]:
    """The answers by NextToken ("" is the first), as the lab's simulation of EC2 gives them."""
    lab = SimpleNamespace(
        world=SimpleNamespace(instances=instances(size)), counters=SimpleNamespace(add=lambda *arguments, **named: None),
        settings=SimpleNamespace(page_size=PAGE),
    )
    found: dict[str, bytes] = {}
    token = ""
    while token not in found:
        content = ec2_actions.describe_instances(lab, {"MaxResults": str(PAGE), **({"NextToken": token} if token else {})})
        found[token] = ec2_query.response("DescribeInstances", "00000000-0000-4000-8000-000000000000", content).encode()
        token = content["nextToken"] or ""
    return found


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request with the page that it asks for."""

    protocol_version = "HTTP/1.1"
    pages: dict[str, bytes]

    def do_POST(self) -> None:
        query = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        body = self.pages[query.get("NextToken", [""])[0]]
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def static(size: int) -> str:
    """The hosts and groups of ours as a static inventory."""
    groups: dict[str, list[str]] = {}
    for instance in instances(size):
        tags = t.cast("dict[str, str]", instance["tags"])
        for group in ("tier_eic", f"runtime_{tags['Runtime']}", f"org_{tags['OrgID']}"):
            groups.setdefault(group.replace("-", "_"), []).append(tags["WorkspaceID"])
    lines = [f"{name} ansible_host=192.0.2.1" for name in groups["tier_eic"]]
    for group, names in groups.items():
        lines += [f"[{group}]", *names]
    return "\n".join([*lines, "[workspaces:children]", "tier_eic", ""])


def configurations(url: str, amazon: bool) -> dict[str, dict[str, object]]:
    """The configurations of inventory plugins by what the table calls them."""
    ours = {"plugin": "molecule_ai.workspace.workspaces", "sources": [{"type": "ec2", "regions": ["us-east-2"], "endpoint_url": url}]}
    found: dict[str, dict[str, object]] = {OURS: ours}
    if amazon:
        theirs = {"plugin": "amazon.aws.aws_ec2", "regions": ["us-east-2"], "endpoint_url": url, "filters": {"tag:Role": "workspace"},
                  "hostnames": ["tag:WorkspaceID"]}
        found["amazon.aws.aws_ec2, hosts only"] = theirs
        found["amazon.aws.aws_ec2, groups by tag"] = {**theirs, "keyed_groups": [
            {"key": "tags.Runtime", "prefix": "runtime"}, {"key": "tags.OrgID", "prefix": "org"}, {"key": "tags.Role", "prefix": "role"},
        ]}
    return found


def measure(path: pathlib.Path, collections: str) -> dict[str, float]:
    """One process, one inventory."""
    environment = {
        **os.environ, "ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "ANSIBLE_INVENTORY", "ANSIBLE_CONFIG", "AWS_CA_BUNDLE"):
        environment.pop(name, None)
    completed = subprocess.run([sys.executable, "-c", CHILD, str(path)], env=environment, capture_output=True, text=True, check=False)
    if completed.returncode:
        sys.exit(completed.stderr)
    result: dict[str, float] = json.loads(completed.stdout.splitlines()[-1])
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=5000, help="workspaces")
    parser.add_argument("--runs", type=int, default=5, help="measurements of each, of which the median is shown")
    parser.add_argument("--amazon-aws", help="collections path with amazon.aws")
    arguments = parser.parse_args()
    Handler.pages = pages(arguments.size)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    collections = ":".join(filter(None, [str(REPOSITORY / ".cache" / "collections"), arguments.amazon_aws]))
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        for name, content in {FLOOR: static(arguments.size), "an empty file": "[workspaces]\n"}.items():
            files[name] = pathlib.Path(scratch) / f"{len(files)}.ini"
            files[name].write_text(content, encoding="utf-8")
        for number, (name, configuration) in enumerate(configurations(f"http://127.0.0.1:{server.server_port}", bool(arguments.amazon_aws)).items()):
            suffix = "aws_ec2.yml" if number else "workspaces.yml"
            files[name] = pathlib.Path(scratch) / f"{number}.{suffix}"
            files[name].write_text(json.dumps(configuration), encoding="utf-8")
        results: dict[str, list[dict[str, float]]] = {name: [] for name in files}
        for _run in range(arguments.runs):
            for name, path in files.items():
                results[name].append(measure(path, collections))
    server.shutdown()
    print(f"{arguments.size} instances in pages of {PAGE}, medians of {arguments.runs} runs, Python {sys.version.split()[0]}\n")
    print(f"{'inventory':36} {'hosts':>6} {'groups':>6} {'seconds':>8} {'CPU s':>7} {'MiB':>6} {'of it':>6} {'time':>7} {'CPU':>7} {'memory':>7}")
    medians = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in results.items()}
    first = medians[OURS]
    for name, median in medians.items():
        print(f"{name:36} {median['hosts']:6.0f} {median['groups']:6.0f} {median['wall']:8.2f} {median['cpu']:7.2f} {median['memory'] / 1024:6.0f} "
              f"{median['growth'] / 1024:6.0f} {median['wall'] / first['wall']:6.2f}x {median['cpu'] / first['cpu']:6.2f}x "
              f"{median['growth'] / first['growth']:6.2f}x")


if __name__ == "__main__":
    main()
