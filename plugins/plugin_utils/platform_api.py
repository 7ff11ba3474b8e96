# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platform's HTTP API: one workspace or all of them, a restart, and the plugins that an organisation allows.

Behaviour as in the platform's public source (May 2026): bearer token; tenants of the SaaS also need ``X-Molecule-Org-Id``, and a missing or wrong
one is answered with 404 and an empty body; 429 carries ``Retry-After``; 503 with code ``platform_unavailable`` means "try again".
The token is never part of an error, and never follows a redirect to another host.
"""
from __future__ import annotations

import dataclasses
import http.client
import json
import time
import typing as t
import urllib.error
import urllib.parse

from ansible.module_utils.urls import open_url

from ..module_utils.errors import InvalidInputError, WorkspaceError
from ..module_utils.names import WORKSPACE_ID, validate_workspace_id
from .masking import mask_url_credentials

MAX_ATTEMPTS = 5
MAX_PAUSE = 60.0
_MAX_ANSWER = 1024 * 1024
# Each workspace of a listing brings its agent card, some KiB of JSON.
_MAX_LISTING = 256 * 1024 * 1024
_MAX_DETAIL = 200

# The platform does not restart these, and says nothing about it (HTTP 200).
NEVER_RESTARTED = {
    "paused": "resume it on the platform first",
    "hibernated": "wake it on the platform first",
    "removed": "remove it from the inventory",
    "external": "restart it where it runs",
}


@dataclasses.dataclass(frozen=True)
class PlatformOptions:
    """How to reach the platform. ``timeout`` is for one HTTP request, in seconds."""

    url: str
    token: str = dataclasses.field(repr=False)
    org_id: str | None = None
    validate_certs: bool = True
    ca_path: str | None = None
    timeout: float = 30.0

    @classmethod
    def from_parameters(cls, parameters: t.Mapping[str, t.Any]) -> PlatformOptions:
        """Pick the platform's options out of a task's validated arguments; raises :class:`InvalidInputError` for missing or unusable ones."""
        url, token = parameters.get("platform_url"), parameters.get("platform_token")
        if not url or not token:
            raise InvalidInputError("the platform can only be asked with both platform_url and platform_token: set both")
        return cls(
            url=_validate_url(url),
            token=_validate_header("platform_token", token),
            org_id=_validate_header("platform_org_id", parameters["platform_org_id"]) if parameters.get("platform_org_id") else None,
            validate_certs=parameters.get("platform_validate_certs", True),
            ca_path=parameters.get("platform_ca_path"),
        )


class PlatformError(WorkspaceError):
    """The platform did not do what it was asked; ``status`` is its HTTP status, or ``None`` when no answer came."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclasses.dataclass(frozen=True)
class _Subject:
    """What a call is about: its path, what it is called in errors, its kind, and the option that names it."""

    path: str
    shown: str
    kind: str
    option: str


class Platform:
    """A client for one platform; ``sleep`` and ``clock`` (monotonic, seconds) are replaceable for tests."""

    def __init__(self, options: PlatformOptions, sleep: t.Callable[[float], None] = time.sleep, clock: t.Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._sleep = sleep
        self._clock = clock

    def workspace(self, workspace_id: str) -> dict[str, t.Any]:
        """The platform's object of one workspace (``id``, ``status``, ``runtime``, ...); raises :class:`PlatformError`."""
        return self._workspace_call("GET", workspace_id)

    def workspaces(self) -> list[dict[str, t.Any]]:
        """The platform's objects of all workspaces but the removed ones; raises :class:`PlatformError`. The token must be an administrator's."""
        listing = self._call("GET", _Subject("/workspaces", "the list of workspaces", "fleet", "platform_url"), _MAX_LISTING)
        if not isinstance(listing, list) or not all(isinstance(entry, dict) for entry in listing):
            raise self._stranger("list of objects")
        return listing

    def restart(self, workspace_id: str) -> None:
        """Ask for a restart; the platform answers before it has happened. Raises :class:`PlatformError`."""
        self._workspace_call("POST", workspace_id, "/restart")

    def plugin_allowlist(self) -> dict[str, t.Any]:
        """The plugins that the organisation of the options allows, as the platform answers (``plugins``, ``allow_all``); raises :class:`PlatformError`."""
        org_id = self._options.org_id
        if not org_id:
            raise InvalidInputError("the platform can only be asked for an organisation's allowlist with platform_org_id: set it to the organisation's id")
        if not WORKSPACE_ID.fullmatch(org_id):
            raise InvalidInputError(f"platform_org_id {org_id!r} is not an organisation's id: use the UUID that the platform shows for it")
        return self._object("GET", _Subject(f"/orgs/{org_id}/plugins/allowlist", f"the allowlist of organisation {org_id}", "organisation", "platform_org_id"))

    def ensure_restartable(self, workspace_id: str) -> None:
        """Raise :class:`PlatformError` if the platform would silently skip the restart of this workspace."""
        workspace = self.workspace(workspace_id)
        for state in (str(workspace.get("runtime")).lower(), str(workspace.get("status")).lower()):
            if state in NEVER_RESTARTED:
                raise PlatformError(f"the platform does not restart workspace {workspace_id}, because it is {state}: {NEVER_RESTARTED[state]}")

    def wait_until_online(self, workspace_id: str, timeout: float, interval: float = 2.0) -> float:
        """Poll until the platform reports ``online``; return the seconds waited.

        The platform sets ``provisioning`` before it answers the restart, so an ``online`` afterwards is the new one. Unknown states are waited out.
        Raises :class:`PlatformError` for a state that will not become ``online`` and when ``timeout`` (seconds) is over.
        """
        begun = self._clock()
        while True:
            status = str(self.workspace(workspace_id).get("status")).lower()
            waited = self._clock() - begun
            if status == "online":
                return waited
            if status == "failed":
                raise PlatformError(f"the platform reports that the restart of workspace {workspace_id} failed: look at the workspace on the platform")
            if status in NEVER_RESTARTED:
                raise PlatformError(f"workspace {workspace_id} became {status} during its restart: {NEVER_RESTARTED[status]}")
            if waited >= timeout:
                raise PlatformError(
                    f"workspace {workspace_id} is still {status} {timeout:g} s after the platform's restart: "
                    "look at it on the platform or allow more time with the option wait_timeout"
                )
            self._sleep(interval)

    def _workspace_call(self, method: str, workspace_id: str, tail: str = "") -> dict[str, t.Any]:
        validate_workspace_id(workspace_id)
        return self._object(method, _Subject(f"/workspaces/{workspace_id}{tail}", f"workspace {workspace_id}", "workspace", "workspace_id"))

    def _object(self, method: str, subject: _Subject) -> dict[str, t.Any]:
        answer = self._call(method, subject, _MAX_ANSWER)
        if not isinstance(answer, dict):
            raise self._stranger("object")
        return answer

    def _stranger(self, expected: str) -> PlatformError:
        return PlatformError(f"what answers at {self._options.url} is not the platform's API (no JSON {expected}): check platform_url")

    def _call(self, method: str, subject: _Subject, limit: int) -> t.Any:
        """One call, tried again while the platform asks for it; only a GET is repeated when no answer came, because a POST may have had its effect.

        Returns the decoded answer of at most ``limit`` bytes, or ``None`` if it is no JSON.
        """
        url = self._options.url + subject.path
        for attempt in range(1, MAX_ATTEMPTS + 1):
            last = attempt == MAX_ATTEMPTS
            try:
                return self._once(method, url, limit)
            except urllib.error.HTTPError as error:
                with error:
                    pause = _pause(error, body := _read(error), attempt)
                    if pause is None or last:
                        raise self._explain(error, body, method, subject) from None
            except (OSError, http.client.HTTPException) as error:
                if method != "GET" or last:
                    reason = getattr(error, "reason", error)
                    raise PlatformError(f"no answer from the platform at {self._options.url} ({self._harmless(str(reason))}): check platform_url") from None
                pause = _backoff(attempt)
            self._sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(self, method: str, url: str, limit: int) -> t.Any:
        headers = {"Authorization": f"Bearer {self._options.token}", "Accept": "application/json"}
        if self._options.org_id:
            headers["X-Molecule-Org-Id"] = self._options.org_id
        with open_url(
            url,
            method=method,
            headers=headers,
            timeout=self._options.timeout,
            validate_certs=self._options.validate_certs,
            ca_path=self._options.ca_path,
            follow_redirects="none",
            use_netrc=False,
        ) as response:
            body = response.read(limit + 1)
        if len(body) > limit:
            raise PlatformError(f"the answer of {url} is larger than {limit // (1024 * 1024)} MiB, so it is not the platform's: check platform_url")
        try:
            return json.loads(body)
        except ValueError:
            return None

    def _explain(self, error: urllib.error.HTTPError, body: bytes, method: str, subject: _Subject) -> PlatformError:
        """One sentence for an answer that is an error."""
        if error.code == 404 and not body.strip():
            given = f"the given platform_org_id is not the {subject.kind}'s" if self._options.org_id else "platform_org_id is not set"
            return PlatformError(
                f"the platform hides {subject.shown} (404 without a body): {given}; set it to the id of the organisation that owns it", 404
            )
        known = {
            301: "it redirects: give the final address as platform_url",
            302: "it redirects: give the final address as platform_url",
            307: "it redirects: give the final address as platform_url",
            308: "it redirects: give the final address as platform_url",
            401: "it refuses the token: check platform_token",
            403: "it refuses the token: check platform_token",
            404: f"it does not know this {subject.kind}: check {subject.option}",
            409: "a workspace above it is paused: resume that one first",
            429: f"its rate limit was still exceeded after {MAX_ATTEMPTS} attempts: run fewer hosts at once (serial, throttle) or try again later",
        }
        explanation = known.get(error.code, "try again later or look at the platform's log")
        detail = self._detail(body)
        what = "restart" if method == "POST" else "look up"
        return PlatformError(f"the platform did not {what} {subject.shown} (HTTP {error.code}{detail}): {explanation}", error.code)

    def _detail(self, body: bytes) -> str:
        """The platform's own ``error`` text, short and harmless, or nothing."""
        answer = _json_object(body)
        text = answer.get("error") or answer.get("message")
        return f", {self._harmless(text)!r}" if isinstance(text, str) else ""

    def _harmless(self, text: str) -> str:
        text = mask_url_credentials(text.replace(self._options.token, "********"))
        return "".join(character if character.isprintable() else " " for character in text)[:_MAX_DETAIL]


def _pause(error: urllib.error.HTTPError, body: bytes, attempt: int) -> float | None:
    """Seconds to pause before the next attempt, or ``None`` when another attempt is pointless."""
    if error.code == 429 or (error.code == 503 and _json_object(body).get("code") == "platform_unavailable"):
        asked = error.headers.get("Retry-After", "")
        return min(float(asked), MAX_PAUSE) if asked.isdecimal() else _backoff(attempt)
    return None


def _backoff(attempt: int) -> float:
    return float(min(2 ** (attempt - 1), MAX_PAUSE))


def _read(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(_MAX_ANSWER)
    except OSError:
        return b""


def _json_object(body: bytes) -> dict[str, t.Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _validate_url(url: str) -> str:
    """Return the base URL without its trailing slash; raises :class:`InvalidInputError`."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise InvalidInputError("platform_url is not usable: give the base address without credentials or query, for example 'https://acme.moleculesai.app'")
    return url.rstrip("/")


def _validate_header(option: str, value: str) -> str:
    """Return a value that may go into an HTTP header; its text is not part of the error, because it may be a secret."""
    if not value.isascii() or not value.isprintable() or " " in value:
        raise InvalidInputError(f"{option} has characters that no HTTP header may have: check for blanks and line ends")
    return value
