# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of an inventory: their options, checked, and all of them asked at the same time."""
from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import typing as t

from ansible.module_utils.basic import env_fallback
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values

from ..module_utils.engine_arguments import ENGINE_ARGUMENT_SPEC
from ..module_utils.errors import InvalidInputError
from ..module_utils.names import INSTANCE_ID
from . import aws_session, fleet_database, fleet_docker, fleet_ec2, fleet_file, fleet_platform
from .fleet_records import Answer

KNOWLEDGE = ("platform", "database", "file")
"""Kinds that say which workspaces there are and what they are; the others are places where a workspace can be found."""

_COMMON: dict[str, dict[str, t.Any]] = {"name": {"type": "str"}, "type": {"type": "str", "required": True}}
_AWS = {name: option for name, option in aws_session.AWS_ARGUMENT_SPEC.items() if name != "region"}

ARGUMENT_SPECS: dict[str, dict[str, dict[str, t.Any]]] = {
    "docker": {**_COMMON, **ENGINE_ARGUMENT_SPEC},
    "ec2": {
        **_COMMON,
        "regions": {"type": "list", "elements": "str", "aliases": ["region"]},
        "filters": {"type": "dict"},
        **_AWS,
    },
    "platform": {
        **_COMMON,
        "platform_url": {"type": "str", "fallback": (env_fallback, ["MOLECULE_API_URL"])},
        "platform_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["MOLECULE_API_TOKEN", "MOLECULE_API_KEY"])},
        "platform_org_id": {"type": "str", "fallback": (env_fallback, ["MOLECULE_ORG_ID"])},
        "platform_validate_certs": {"type": "bool", "default": True},
        "platform_ca_path": {"type": "path"},
    },
    "database": {
        **_COMMON,
        "dsn": {"type": "str", "no_log": True, "fallback": (env_fallback, ["MOLECULE_DATABASE_URL"])},
        "table": {"type": "str", "default": fleet_database.DEFAULT_TABLE},
        "timeout": {"type": "int", "default": fleet_database.DEFAULT_TIMEOUT},
    },
    "file": {**_COMMON, "path": {"type": "str", "required": True}},
}
"""Options by type of source. Names, aliases and environment variables are those of the collection's modules, and so of its peers."""

_SOURCES_AT_ONCE = 16
# Some 50 ms: tokens are long, and a reader of the cache has the fleet anyway.
_ROUNDS = 100_000
_ASK: dict[str, t.Callable[[t.Mapping[str, t.Any]], Answer]] = {
    "docker": fleet_docker.ask, "ec2": fleet_ec2.ask, "platform": fleet_platform.ask, "database": fleet_database.ask,
}
Load = t.Callable[[str], t.Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """One source with its checked options, which may hold secrets; ``name`` tells it from the others, for people."""

    name: str
    kind: str
    parameters: t.Mapping[str, t.Any] = dataclasses.field(repr=False)


def from_options(entries: t.Sequence[t.Any]) -> list[Source]:
    """The sources from the option ``sources``, in their order; raises :class:`InvalidInputError` without any of their secrets."""
    sources: list[Source] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, t.Mapping) or entry.get("type") not in ARGUMENT_SPECS:
            raise InvalidInputError(f"source {number} of the inventory has no type: give one of {', '.join(ARGUMENT_SPECS)}")
        kind = str(entry["type"])
        parameters = _checked(kind, f"source {number} of the inventory ({kind})", entry)
        number_of_kind = 1 + sum(source.kind == kind for source in sources)
        name = parameters.get("name") or (kind if number_of_kind == 1 else f"{kind}_{number_of_kind}")
        if any(source.name == name for source in sources):
            raise InvalidInputError(f"two sources of the inventory are named {name!r}: give each a name of its own")
        sources.append(Source(name, kind, parameters))
    if not sources:
        raise InvalidInputError(f"the inventory has no sources: list at least one under 'sources', of type {', '.join(ARGUMENT_SPECS)}")
    return sources


def _checked(kind: str, where: str, entry: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The options of one source, with defaults, environment and types."""
    # an empty text is what templates and unset AWX credentials leave, so it counts as not given
    given = {str(key): value for key, value in entry.items() if value is not None and value != ""}
    result = ArgumentSpecValidator(ARGUMENT_SPECS[kind]).validate(given)
    if result.error_messages:
        raise InvalidInputError(f"{where}: {remove_values('; '.join(result.error_messages), result._no_log_values)}")
    parameters: dict[str, t.Any] = result.validated_parameters
    return parameters


def ask(sources: t.Sequence[Source], load: Load) -> dict[str, Answer]:
    """The answers by source name. A source that failed says so in its answer; only options that cannot work raise :class:`InvalidInputError`.

    ``load`` reads and decodes a file (Ansible's loader: YAML, JSON, vault) and raises :class:`InvalidInputError`; it is called in this thread.
    """
    asked = [source for source in sources if source.kind != "file"]
    with concurrent.futures.ThreadPoolExecutor(max_workers=_SOURCES_AT_ONCE) as executor:
        futures = {source.name: executor.submit(_ASK[source.kind], source.parameters) for source in asked}
        answers = {source.name: fleet_file.read(load(source.parameters["path"]), source.parameters["path"]) for source in sources if source.kind == "file"}
        answers |= {name: future.result() for name, future in futures.items()}
        _ask_for_claimed_instances(sources, answers, executor)
    return {source.name: answers[source.name] for source in sources}


def _ask_for_claimed_instances(sources: t.Sequence[Source], answers: dict[str, Answer], executor: concurrent.futures.Executor) -> None:
    """Look for the instances that other sources name and no tag led to; adds them to the answers of EC2."""
    places = [source for source in sources if source.kind == "ec2" and answers[source.name].failure is None]
    found = {instance.instance_id for source in places for instance in answers[source.name].instances or []}
    claims = [record.fields.get("instance_id", "") for source in sources if source.kind in KNOWLEDGE for record in answers[source.name].records]
    missing = [claim for claim in dict.fromkeys(claims) if INSTANCE_ID.fullmatch(claim) and claim not in found]
    if not missing:
        return
    futures = {source.name: executor.submit(fleet_ec2.ask_by_id, source.parameters, missing) for source in places}
    for name, future in futures.items():
        more, answer = future.result(), answers[name]
        answers[name] = dataclasses.replace(answer, instances=[*(answer.instances or []), *(more.instances or [])], failure=more.failure)


def digest(sources: t.Sequence[Source], path: str, salt: bytes) -> str:
    """What tells one configuration, at ``path``, from another that could find another fleet; raises :class:`InvalidInputError` for a DSN that is none.

    No secret can be had from it. Most are not in it: the user of a database and the id of an AWS key say whose they are. A platform's token alone says
    whose it is, so it is in it in a form that costs time to guess, with a ``salt`` of each cache entry's own.
    """
    parts = []
    for source in sources:
        spec = ARGUMENT_SPECS[source.kind]
        plain = {name: value for name, value in source.parameters.items() if not spec.get(name, {}).get("no_log")}
        parts.append([source.name, source.kind, plain, _place(source), _who(source, salt)])
        if source.kind == "file":
            parts.append(_version(os.path.join(os.path.dirname(path), os.path.expanduser(source.parameters["path"]))))
    return _hash([path, parts])


def places(sources: t.Sequence[Source]) -> dict[str, str]:
    """By source name, what tells one place to look from another, whoever asks there; raises as :func:`digest`."""
    return {source.name: _hash([source.kind, _place(source)]) for source in sources}


_PLACES = {
    "docker": ("docker_host",), "ec2": ("regions", "filters", "profile", "assume_role_arn", "endpoint_url"), "platform": ("platform_url", "platform_org_id"),
    "database": ("table",), "file": ("path",),
}


def _place(source: Source) -> list[t.Any]:
    options = [source.parameters.get(name) for name in _PLACES[source.kind]]
    return [*options, fleet_database.place(source.parameters)] if source.kind == "database" else options


def _who(source: Source, salt: bytes) -> t.Any:
    """What else than its options decides what a source shows: with whose rights it is asked."""
    if source.kind == "ec2":
        return aws_session.AwsOptions.from_parameters(source.parameters).identity
    if source.kind == "platform":
        token = str(source.parameters.get("platform_token") or "")
        return hashlib.pbkdf2_hmac("sha256", token.encode(), salt, _ROUNDS).hex()
    return None


def _version(path: str) -> list[t.Any]:
    """What tells a file from what it was; an operator who writes into it wants to see that."""
    try:
        found = os.stat(path)
    except OSError:
        return [path]
    return [path, found.st_ino, found.st_size, found.st_mtime_ns]


def _hash(value: t.Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
