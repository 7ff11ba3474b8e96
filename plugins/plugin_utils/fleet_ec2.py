# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2 as a source of an inventory: the instances that are tagged as workspaces, in any number of regions at once."""
from __future__ import annotations

import concurrent.futures
import typing as t

from . import aws_session, ec2_instances
from .fleet_records import Answer, Record

if t.TYPE_CHECKING:
    import botocore.client

_REGIONS_AT_ONCE = 8


def ask(parameters: t.Mapping[str, t.Any]) -> Answer:
    """Find the tagged instances in all regions; a failure is part of the answer, with what the other regions said.

    Only options that cannot work raise ``InvalidInputError``.
    """
    filters = {name: values if isinstance(values, list) else [values] for name, values in (parameters.get("filters") or {}).items()}
    texts = {name: [str(value) for value in values] for name, values in filters.items()}
    answer = _in_all_regions(parameters, lambda client: ec2_instances.find_workspaces(client, texts))
    return Answer(records=_records(answer.instances or []), instances=answer.instances, failure=answer.failure)


def ask_by_id(parameters: t.Mapping[str, t.Any], instance_ids: t.Sequence[str]) -> Answer:
    """Find those of these instances that exist, tagged or not, in any state; raises as :func:`ask`."""
    return _in_all_regions(parameters, lambda client: ec2_instances.find_by_instance_ids(client, instance_ids))


def _in_all_regions(parameters: t.Mapping[str, t.Any], find: t.Callable[[botocore.client.BaseClient], list[ec2_instances.Instance]]) -> Answer:
    """``find`` in each region at the same time, with one set of credentials."""
    instances: list[ec2_instances.Instance] = []
    failures: list[str] = []
    try:
        made = aws_session.session(aws_session.AwsOptions.from_parameters(parameters))
        # a session is not for several threads, so all clients are made here
        clients = [
            aws_session.client(aws_session.AwsOptions.from_parameters({**parameters, "region": region}), "ec2", made=made)
            for region in dict.fromkeys(parameters.get("regions") or [None])
        ]
    except aws_session.AwsError as error:
        return Answer(failure=str(error))
    with concurrent.futures.ThreadPoolExecutor(max_workers=min(len(clients), _REGIONS_AT_ONCE)) as executor:
        for future in [executor.submit(find, client) for client in clients]:
            try:
                instances += future.result()
            except aws_session.AwsError as error:
                failures.append(str(error))
    return Answer(instances=instances, failure="; ".join(failures) or None)


def _records(instances: t.Sequence[ec2_instances.Instance]) -> list[Record]:
    """What the tags say. An instance id only where one instance alone is the workspace: which of several is it, is for the ladder to refuse."""
    live: dict[str, list[str]] = {}
    for instance in instances:
        if instance.state in ec2_instances.LIVE_STATES:
            live.setdefault(instance.workspace_id, []).append(instance.instance_id)
    return [
        Record.of(instance.workspace_id, {
            "name": instance.name,
            "runtime": instance.runtime,
            "org_id": instance.org_id,
            "instance_id": instance.instance_id if live.get(instance.workspace_id) == [instance.instance_id] else None,
        })
        for instance in instances
    ]
