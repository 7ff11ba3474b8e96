# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker engine as the controller sees it: options, one client, and the calls that the collection makes.

Options have the names, defaults and environment variables of community.docker, so that nobody learns them twice.
The SDK is imported only when a client is made: an action plugin is loaded for every task, most of which never talk to an engine.
"""
from __future__ import annotations

import contextlib
import dataclasses
import typing as t

from ..module_utils.engine_arguments import DEFAULT_DOCKER_HOST, DEFAULT_TIMEOUT, ENGINE_ARGUMENT_SPEC
from ..module_utils.errors import InvalidInputError, WorkspaceError

if t.TYPE_CHECKING:
    from docker import APIClient


_CONFLICT = 409


class EngineError(WorkspaceError):
    """The engine could not be asked, or did not answer the question: nothing is known about the container."""


class ContainerExistsError(EngineError):
    """There is a container of that name already."""


class ContainerNotFoundError(EngineError):
    """The engine answered, definitely: there is no such container."""


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """How to reach one Docker engine. ``timeout`` is in seconds."""

    docker_host: str = DEFAULT_DOCKER_HOST
    tls: bool = False
    validate_certs: bool = False
    ca_path: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    api_version: str = "auto"
    timeout: int = DEFAULT_TIMEOUT

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any]) -> EngineOptions:
        """Pick the engine's options out of a task's validated arguments; what is absent or null takes its default."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: parameters[name] for name in names if parameters.get(name) is not None})

    def as_parameters(self) -> dict[str, t.Any]:
        """The options as arguments of a task, without those that have no value: what :meth:`from_parameters` takes."""
        # not asdict, which copies: an inventory asks this for each workspace
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def uses_tls(self) -> bool:
        """Whether the engine is reached over TLS, with or without verification."""
        return self.tls or self.validate_certs or self.docker_host.startswith("https://")


def connect(options: EngineOptions) -> APIClient:
    """Return a client that has already spoken with the engine (``api_version: auto`` asks for its version).

    Raises :class:`EngineError` when the engine cannot be reached and :class:`InvalidInputError` for options that cannot work.
    """
    try:
        import docker
    except ImportError as error:
        message = "cannot ask a Docker engine: the Python package 'docker' is missing on the controller; install it with 'pip install docker'"
        raise EngineError(message) from error
    if bool(options.client_cert) != bool(options.client_key):
        raise InvalidInputError("a TLS client certificate needs both client_cert and client_key (or DOCKER_CERT_PATH with cert.pem and key.pem)")
    base_url = options.docker_host
    with engine_errors(options, "connect"):
        tls: docker.tls.TLSConfig | bool = False
        if options.uses_tls:
            base_url = base_url.replace("tcp://", "https://", 1)
            verify = options.validate_certs or not options.tls
            certificate = (options.client_cert, options.client_key) if options.client_cert and options.client_key else None
            tls = docker.tls.TLSConfig(client_cert=certificate, ca_cert=options.ca_path if verify else None, verify=verify)
        return _client_class()(
            base_url=base_url,
            version=options.api_version,
            timeout=options.timeout,
            tls=tls,
            # the ssh command line honours the user's ssh configuration and agent, and spares a dependency on paramiko
            use_ssh_client=base_url.startswith("ssh://"),
        )


def _client_class() -> type[APIClient]:
    """The SDK's low-level client, in which the given CA wins over ``REQUESTS_CA_BUNDLE`` (requests has it the other way round, for all its users)."""
    import docker

    def merge_environment_settings(self: APIClient, url: object, proxies: object, stream: object, verify: object, cert: object) -> object:
        return docker.APIClient.merge_environment_settings(self, url, proxies, stream, self.verify if verify is None else verify, cert)

    return type("Client", (docker.APIClient,), {"merge_environment_settings": merge_environment_settings})


def list_containers(client: APIClient, options: EngineOptions) -> list[dict[str, t.Any]]:
    """Every container of the engine, running or not, in one call; the engine's own JSON (``Names`` with a leading slash, ``State``, ``Status``)."""
    with engine_errors(options, "list the containers"):
        listing: list[dict[str, t.Any]] = client.containers(all=True)
        return listing


def all_containers(options: EngineOptions) -> list[dict[str, t.Any]]:
    """:func:`list_containers` over a connection of its own; raises :class:`EngineError`, also if the engine cannot be reached."""
    client = connect(options)
    try:
        return list_containers(client, options)
    finally:
        client.close()


def inspect_container(client: APIClient, options: EngineOptions, name: str) -> dict[str, t.Any]:
    """The engine's ``inspect`` JSON of one container; raises :class:`ContainerNotFoundError` or :class:`EngineError`."""
    with engine_errors(options, f"inspect container {name}", name):
        description: dict[str, t.Any] = client.inspect_container(name)
        return description


def restart_container(client: APIClient, options: EngineOptions, name: str, stop_timeout: int = 10) -> None:
    """Restart one container in place; ``stop_timeout`` seconds pass between SIGTERM and SIGKILL. Raises as :func:`inspect_container`."""
    with engine_errors(options, f"restart container {name}", name):
        client.restart(name, timeout=stop_timeout)


def inspect_image(client: APIClient, options: EngineOptions, image: str) -> dict[str, t.Any]:
    """The engine's ``inspect`` JSON of one image; raises :class:`EngineError`."""
    with engine_errors(options, f"inspect image {image}"):
        description: dict[str, t.Any] = client.inspect_image(image)
        return description


def run_beside(client: APIClient, options: EngineOptions, name: str, beside: str, image: str, labels: t.Mapping[str, str], lifetime: int) -> None:
    """Start the container ``name`` from ``image`` with the volumes of the container ``beside``: as root, without network.

    It does nothing for ``lifetime`` seconds, then it is gone. Raises :class:`ContainerExistsError` and
    :class:`EngineError`; a container that could not be started is removed.
    """
    import docker.errors

    with engine_errors(options, f"create container {name}"):
        host_config = client.create_host_config(volumes_from=[beside], network_mode="none", auto_remove=True, security_opt=["no-new-privileges"])
        try:
            created = client.create_container(
                image, name=name, entrypoint=["python3", "-c", f"import time; time.sleep({lifetime})"], command=[], user="0:0", working_dir="/",
                labels=dict(labels), healthcheck={"Test": ["NONE"]}, host_config=host_config,
            )["Id"]
        except docker.errors.APIError as error:
            if error.status_code == _CONFLICT:
                raise ContainerExistsError(f"there is a container {name} already on the Docker engine at {options.docker_host}") from error
            raise
    try:
        with engine_errors(options, f"start container {name}", name):
            client.start(created)
    except EngineError:
        with contextlib.suppress(EngineError):
            remove_container(client, options, created)
        raise


def remove_container(client: APIClient, options: EngineOptions, name: str) -> bool:
    """Kill and remove a container, given by its name or id; return whether there was one. Raises :class:`EngineError`."""
    import docker.errors

    try:
        with engine_errors(options, f"remove container {name}", name):
            try:
                client.remove_container(name, force=True)
            except docker.errors.APIError as error:
                # Its own end has removed it at the same moment.
                if error.status_code != _CONFLICT:
                    raise
    except ContainerNotFoundError:
        return False
    return True


def with_engine_of(engine: t.Mapping[str, t.Any] | None, arguments: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A task's ``arguments`` with the options of the ``engine`` that the workspace was found on, unless they say something about an engine themselves."""
    names = {name for option, specification in ENGINE_ARGUMENT_SPEC.items() for name in (option, *specification.get("aliases", []))}
    # Half of one engine's options and half of another's would reach neither; the time limit is nobody's.
    return dict(arguments) if names & set(arguments) - {"timeout"} else {**(engine or {}), **arguments}


@contextlib.contextmanager
def engine_errors(options: EngineOptions, what: str, container: str | None = None) -> t.Iterator[None]:
    """Turn whatever the SDK raises while it does ``what`` into one sentence.

    Only a 404 about a container that was asked for by name is a definite no; everything else means "unknown".
    """
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.NotFound as error:
        if container is None:
            raise EngineError(f"cannot {what}: the Docker engine at {options.docker_host} answers {_first_line(error.explanation or error)}") from error
        raise ContainerNotFoundError(f"there is no container {container} on the Docker engine at {options.docker_host}") from error
    except docker.errors.APIError as error:
        raise EngineError(f"cannot {what}: the Docker engine at {options.docker_host} answers {_first_line(error.explanation or error)}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        raise EngineError(f"cannot {what}: no Docker engine answers at {options.docker_host} ({_root_cause(error)})") from error


def _first_line(message: object) -> str:
    """The first line of an engine's message, without its final full stop, at most 300 characters."""
    lines = str(message).strip().splitlines()
    return lines[0].rstrip(".")[:300] if lines else "with an error without a message"


def _root_cause(error: BaseException) -> str:
    """The operating system's word at the bottom of an error chain ("No such file or directory"), else the error's first line.

    requests and urllib3 wrap a refused connection five times, with object addresses in the text.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.strerror:
            return current.strerror
        nested = [argument for argument in current.args if isinstance(argument, BaseException)]
        reason = getattr(current, "reason", None)
        current = reason if isinstance(reason, BaseException) else nested[0] if nested else current.__cause__ or current.__context__
    return _first_line(error)
