# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2's answers about instances and endpoints, remembered on disk for some minutes and shared by all workers and plays of one identity.

A connection plugin knows its own host only, and 200 workers that ask for one instance each would be throttled. So the first miss asks for that one
instance; the second one asks for all running instances of the VPC that the first one turned out to be in. One host costs one small query, a fleet
two. Nothing in the file is secret. What is not running or not there is never remembered.
"""
from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
import typing as t

from . import eic_master
from .eic_target import Description, Lookup

if t.TYPE_CHECKING:
    import botocore.client

_LOCK_TIMEOUT = 120.0
_INSTANCE_FIELDS = ("InstanceId", "State", "VpcId", "SubnetId", "PrivateIpAddress", "Ipv6Address")
_ENDPOINT_FIELDS = ("InstanceConnectEndpointId", "State", "VpcId", "SubnetId", "DnsName", "FipsDnsName")
_SECTIONS = ("instances", "vpcs", "endpoints", "endpoints_of_vpc")
_Content = dict[str, dict[str, t.Any]]
"""By section and id: ``{"time": when it was asked for, "value": what EC2 said}``. ``vpcs`` are those whose instances were asked for as a whole."""


class CachedLookup(Lookup):
    """As :class:`Lookup`, over the file ``path`` in a private directory. Answers live for ``lifetime`` seconds."""

    def __init__(self, ec2: t.Callable[[], botocore.client.BaseClient], path: str, lifetime: float) -> None:
        super().__init__(ec2)
        self._path, self._lifetime = path, lifetime

    def instance(self, instance_id: str) -> Description | None:
        def ask(content: _Content) -> Description | None:
            for vpc_id in sorted({entry["value"].get("VpcId") or "" for entry in content["instances"].values()} - {"", *content["vpcs"]}):
                for found in self._running_instances(vpc_id):
                    _remember(content, "instances", found["InstanceId"], _only(found, _INSTANCE_FIELDS))
                _remember(content, "vpcs", vpc_id, None)
            if instance_id in content["instances"]:
                return t.cast(Description, content["instances"][instance_id]["value"])
            instance = Lookup.instance(self, instance_id)
            if instance and instance.get("State", {}).get("Name") == "running":
                _remember(content, "instances", instance_id, _only(instance, _INSTANCE_FIELDS))
            return instance

        return t.cast("Description | None", self._cached("instances", instance_id, ask))

    def endpoint(self, endpoint_id: str) -> Description | None:
        def ask(content: _Content) -> Description | None:
            endpoint = Lookup.endpoint(self, endpoint_id)
            if endpoint:
                _remember(content, "endpoints", endpoint_id, _only(endpoint, _ENDPOINT_FIELDS))
            return endpoint

        return t.cast("Description | None", self._cached("endpoints", endpoint_id, ask))

    def usable_endpoints(self, vpc_id: str) -> list[Description]:
        def ask(content: _Content) -> list[Description]:
            endpoints = Lookup.usable_endpoints(self, vpc_id)
            if endpoints:
                _remember(content, "endpoints_of_vpc", vpc_id, [_only(endpoint, _ENDPOINT_FIELDS) for endpoint in endpoints])
            return endpoints

        return t.cast("list[Description]", self._cached("endpoints_of_vpc", vpc_id, ask))

    def _running_instances(self, vpc_id: str) -> t.Iterator[Description]:
        filters = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "instance-state-name", "Values": ["running"]}]
        for page in self.client.get_paginator("describe_instances").paginate(Filters=filters, PaginationConfig={"PageSize": 1000}):
            for reservation in page.get("Reservations", []):
                yield from reservation.get("Instances", [])

    def _cached(self, section: str, key: str, ask: t.Callable[[_Content], t.Any]) -> t.Any:
        """What the file says; otherwise what ``ask`` finds out and adds to the content, one process at a time."""
        content = _read(self._path, self._lifetime)
        if key in content[section]:
            return content[section][key]["value"]
        try:
            with eic_master.serialised(f"{self._path}.lock", _LOCK_TIMEOUT):
                content = _read(self._path, self._lifetime)
                if key in content[section]:
                    return content[section][key]["value"]
                try:
                    return ask(content)
                finally:
                    _write(self._path, content)
        except eic_master.LockTimeout:
            return ask(_empty())


def forget(path: str, instance_id: str) -> None:
    """Drop what ``path`` says about the instance, and about the endpoints in its VPC: a connection with it has failed."""
    if not os.path.exists(path):
        return
    with contextlib.suppress(eic_master.LockTimeout), eic_master.serialised(f"{path}.lock", _LOCK_TIMEOUT):
        content = _read(path, float("inf"))
        entry = content["instances"].pop(instance_id, None)
        content["endpoints_of_vpc"].pop(entry["value"].get("VpcId") if entry else "", None)
        content["endpoints"].clear()
        _write(path, content)


def _remember(content: _Content, section: str, key: str, value: t.Any) -> None:
    content[section][key] = {"time": time.time(), "value": value}


def _only(description: Description, fields: t.Iterable[str]) -> Description:
    found = {field: description[field] for field in fields if field in description}
    if "NetworkInterfaces" in description:
        found["NetworkInterfaces"] = [{"Ipv6Addresses": interface.get("Ipv6Addresses", [])} for interface in description["NetworkInterfaces"][:1]]
    return found


def _empty() -> _Content:
    return {section: {} for section in _SECTIONS}


def _read(path: str, lifetime: float) -> _Content:
    """The file's content without what is too old (or from the future); nothing when the file is missing, broken, or others could have written it."""
    content = _empty()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return content
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            return content
        now = time.time()
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            found = json.load(file)
            return {section: {key: entry for key, entry in found[section].items() if 0 <= now - entry["time"] < lifetime} for section in _SECTIONS}
    return content


def _write(path: str, content: _Content) -> None:
    """Replace the file as a whole. A directory that cannot be written to costs queries, and nothing else."""
    temporary = f"{path}.{secrets.token_hex(8)}"
    with contextlib.suppress(OSError):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(temporary, path)
