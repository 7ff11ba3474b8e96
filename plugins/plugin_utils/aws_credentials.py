# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose credentials a botocore session uses: all that botocore finds by itself, keys that were given, and a role that is assumed with either.

What botocore would do to a person at a terminal, it must not do to a play: it may not ask for an MFA code, and it may not wait for ever.
botocore is imported inside the functions, see ``aws_session.py``.
"""
from __future__ import annotations

import os
import queue
import threading
import typing as t

if t.TYPE_CHECKING:
    import botocore.credentials
    import botocore.session

TIME_LIMIT = 60.0
"""Seconds until credentials must be there: botocore waits for a credential process without any limit."""

ROLE_SESSION_NAME = "molecule_ai.workspace"
"""What CloudTrail shows for a role that was assumed for us."""

Keys = tuple[str, str, t.Optional[str]]
"""Access key id, secret access key, session token."""


_CREDENTIALS_OF_BOTOCORE = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
"""Variables by which the environment says whose credentials botocore is to use."""


def environment_keys() -> Keys | None:
    """The keys of the two variables that ``amazon.aws`` reads and botocore does not, unless the environment has something that botocore does."""
    access_key, secret_key = os.environ.get("AWS_ACCESS_KEY"), os.environ.get("AWS_SECRET_KEY")
    if not access_key or not secret_key or any(os.environ.get(name) for name in _CREDENTIALS_OF_BOTOCORE):
        return None
    return access_key, secret_key, os.environ.get("AWS_SESSION_TOKEN")


def prepare(made: botocore.session.Session, keys: Keys | None, role_arn: str | None) -> None:
    """Let ``made`` use ``keys`` instead of what botocore finds, and with either of them assume ``role_arn``. Nothing is asked yet."""
    import botocore.credentials

    resolver = made.get_component("credential_provider")
    # botocore has no other way to say this; without it, getpass would wait at the terminal of whoever started the play
    resolver.get_provider("assume-role")._prompter = _refuse_code
    if role_arn:
        source = (lambda: botocore.credentials.Credentials(*keys)) if keys else resolver.load_credentials
        made.register_component("credential_provider", botocore.credentials.CredentialResolver([_AssumedRole(made, source, role_arn)]))
    elif keys:
        made.set_credentials(*keys)


class _AssumedRole:
    """A provider of botocore's chain, and its only one: the role's temporary credentials, refreshed by botocore before they expire."""

    METHOD = "assume-role"
    CANONICAL_NAME = None

    def __init__(self, made: botocore.session.Session, source: t.Callable[[], botocore.credentials.Credentials | None], role_arn: str) -> None:
        self._made, self._source, self._role_arn = made, source, role_arn

    def load(self) -> botocore.credentials.Credentials | None:
        """What botocore calls; ``None`` when there is nobody who could assume the role."""
        import botocore.credentials

        source = self._source()
        if source is None:
            return None
        fetcher = botocore.credentials.AssumeRoleCredentialFetcher(
            self._made.create_client, source, self._role_arn, extra_args={"RoleSessionName": ROLE_SESSION_NAME}
        )
        return botocore.credentials.DeferredRefreshableCredentials(method=self.METHOD, refresh_using=fetcher.fetch_credentials)


def _refuse_code(_prompt: str) -> str:
    import botocore.exceptions

    raise botocore.exceptions.CredentialRetrievalError(provider="assume-role", error_msg="it asks for an MFA code, which a play cannot give")


def resolve(made: botocore.session.Session) -> botocore.credentials.ReadOnlyCredentials | None:
    """The session's credentials as they are now, refreshed if need be; ``None`` when there are none.

    Raises whatever botocore and what it calls raise, and ``CredentialRetrievalError`` after :data:`TIME_LIMIT`.
    """
    import botocore.exceptions

    answers: queue.SimpleQueue[tuple[t.Any, BaseException | None]] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = made.get_credentials()
            answers.put((found.get_frozen_credentials() if found else None, None))
        except BaseException as error:  # pylint: disable=broad-except
            answers.put((None, error))

    # a thread, because nothing else ends the wait for a process that botocore has started
    threading.Thread(target=ask, daemon=True).start()
    try:
        credentials, error = answers.get(timeout=TIME_LIMIT)
    except queue.Empty:
        raise botocore.exceptions.CredentialRetrievalError(provider="AWS", error_msg=f"no answer within {TIME_LIMIT:.0f} s") from None
    if error is not None:
        raise error
    return t.cast("botocore.credentials.ReadOnlyCredentials | None", credentials)
