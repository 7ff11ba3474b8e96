# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the workspace half something: one remote execution, by the cheapest way that the connection allows.

Where the connection pipelines, the workspace's Python gets our modules, the request, and the shipment if it is small, on its standard input
(``module_utils/carried_program.py``). Otherwise (no pipelining, a delegated task, an interpreter that is more than a program's name) an ordinary
module carries the same request to the same code. Nothing but speed tells the two apart.
"""
from __future__ import annotations

import json
import posixpath
import re
import shlex
import time
import zlib
from pathlib import Path
from typing import Any, Callable, Mapping, TypeVar

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils import host_restart
from ..module_utils.carried_program import MARK
from ..module_utils.errors import InvalidInputError
from . import task_data, this_run
from .run_cache import RunCache

_T = TypeVar("_T")

# A shipment up to this size travels with its request: it lies in memory on both sides, and a larger one is not worth that.
MAX_ATTACHED_BYTES = 16 * 1024 * 1024

_MODULE_UTILS = Path(__file__).parent.parent / "module_utils"
_PROGRAM = "carried_program.py"
_ALWAYS = "request_answer"
# A restart that was made may be noted by whomever: unnoted, it would be made again.
_NOTES = frozenset(("confirm_restart",))
_OWN_IMPORT = re.compile(r"^\s*from \.(\w*) import (.+)$", re.MULTILINE)
_HOME = re.compile(r"/root|/home/[^/]+")
_PLAIN_INTERPRETER = re.compile(r"[A-Za-z0-9_./+-]+")

# -I and -S: neither the workspace's environment nor its site packages have a say in what runs as root.
FLAGS = ("-I", "-S", "-c")
LOADER = (
    "import sys\n"
    "if sys.version_info < (3, 8): sys.exit('Python %s.%s is too old' % sys.version_info[:2])\n"
    "stream = sys.stdin.buffer\n"
    "exec(compile(stream.read(int(stream.readline())), 'carried_program.py', 'exec'))\n"
    "print(run(stream))\n"
)
_FIRST_PRESENT = (
    'for python in "$@"; do command -v "$python" > /dev/null 2>&1 && exec "$python" {flags} "$0"; done; '
    'echo "there is no Python: tried $*" >&2; exit 127'
)


# Seconds. A container that is being restarted takes new commands until its main process ends, and none until it runs again: a restart may strike twice.
PAUSES = (1, 4, 10)


def repeated(do: Callable[[], _T], start_over: Callable[[], None] = lambda: None) -> _T:
    """Return what ``do`` returns; where its answer was lost, do it again after a pause and ``start_over``, some times.

    Only for what may be done twice. Raises what ``do`` raises.
    """
    for pause in PAUSES:
        try:
            return do()
        except (AnsibleConnectionFailure, task_data.AnswerLost) as error:
            if not task_data.is_interruption(error):
                raise
        time.sleep(pause)
        start_over()
    return do()


def may_lie_in(remote_tmp: str, config_dir: str) -> bool:
    """Tell whether the path ``remote_tmp`` is ``config_dir`` or lies in it, or may do so once the login's shell has resolved what it resolves.

    ``~``, ``~user`` or a variable at the beginning may stand for any directory: ``~/.hermes/tmp`` lies in ``/home/ubuntu/.hermes`` for one login; further on,
    a variable stands for one name. A home that itself lies in the config dir is not thought of, or no ``~`` would do.
    """
    # normpath leaves two slashes at the beginning.
    first, *rest = re.sub("^/+", "/", posixpath.normpath(remote_tmp)).split("/")
    pattern = ""
    if first:
        # A relative path is relative to the home.
        pattern, rest = ".*", rest if first.startswith(("~", "$")) else [first, *rest]
        if _HOME.fullmatch(config_dir):
            return True
    for part in rest:
        pattern += "/" + ("[^/]+" if "$" in part else re.escape(part))
        if re.fullmatch(pattern, config_dir):
            return True
    return False


class WorkspaceCall:
    """How one task of ``action`` asks its workspace."""

    def __init__(self, action: ActionBase, task_vars: Mapping[str, Any], cache: RunCache) -> None:
        self._action = action
        self._task_vars = task_vars
        self._cache = cache
        self._interpreters = self._find_interpreters()

    @property
    def carries(self) -> bool:
        """Whether requests go on the standard input of the workspace's Python."""
        return bool(self._interpreters)

    def ask(self, module: str, entry: str, request: Mapping[str, Any], attached: bytes = b"") -> dict[str, Any]:
        """Return the result that ``entry`` (a module of ``module_utils`` with ``changes`` and ``handle``) gives for ``request``.

        ``module`` is the Ansible module that does the same; ``attached`` may be given only to calls that :attr:`carries` is true for.
        Raises ``AnsibleConnectionFailure`` when the host is unreachable, ``WorkspaceError`` with the workspace half's own sentence, or when the run has
        ended that asked for a change, and :class:`InvalidInputError` where Ansible's temporary files would lie in the request's config dir.
        """
        self._require_safe_temporary_directory(request["config_dir"])
        if host_restart.changes(request) and request["operation"] not in _NOTES:
            this_run.require_alive()
        plain_request = task_data.plain(request)
        login = f"user {self._action._get_remote_user()} on {self._action._play_context.remote_addr}"
        try:
            if self.carries:
                returned = self._carry(entry, plain_request, attached)
            else:
                returned = self._action._execute_module(module_name=module, module_args={"_request": plain_request}, task_vars=dict(self._task_vars))
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as error:
            refused = task_data.without_rights(str(error), login)
            if refused is None:
                raise
            raise refused from error
        return task_data.result_of(returned, login)

    def _require_safe_temporary_directory(self, config_dir: str) -> None:
        """Refuse to let root execute, write and remove by path below the config dir, where its owner may put links and files of its own."""
        remote_tmp = str(self._action.get_shell_option("remote_tmp", "~"))
        if may_lie_in(remote_tmp, config_dir):
            raise InvalidInputError(
                f"ansible_remote_tmp {remote_tmp} lies, or may lie, in the config dir {config_dir}, where the workspace's agent could exchange what root "
                "executes: leave it unset, or set a directory that the agent cannot write to"
            )

    def _carry(self, entry: str, request: dict[str, Any], attached: bytes) -> dict[str, Any]:
        stream = program_stream(self._cache, entry, request, bool(self._action._task.check_mode), attached)
        command = f"{self._action._compute_environment_string()} {self._command()}".strip()
        return _parse(self._action._low_level_execute_command(command, in_data=stream))

    def _command(self) -> str:
        """Return the shell command that starts the first interpreter there is; it holds constants and names that were checked, all quoted."""
        if len(self._interpreters) == 1:
            return shlex.join([self._interpreters[0], *FLAGS, LOADER])
        return shlex.join(["/bin/sh", "-c", _FIRST_PRESENT.format(flags=" ".join(FLAGS)), LOADER, *self._interpreters])

    def _find_interpreters(self) -> list[str]:
        """Return the interpreters to try on the workspace in this order; none when an ordinary module has to do it."""
        action = self._action
        if action._task.async_val or action._task.delegate_to or C.DEFAULT_KEEP_REMOTE_FILES or not action._is_pipelining_enabled("new"):
            return []
        configured = C.config.get_config_value("INTERPRETER_PYTHON", variables=self._task_vars)
        interpreter = str(task_data.plain(action._templar.template(configured)))
        if not interpreter.startswith("auto"):
            candidates = [interpreter]
        else:
            discovered = (self._task_vars.get("ansible_facts") or {}).get("discovered_interpreter_python")
            fallback = C.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=self._task_vars)
            candidates = [str(discovered)] if discovered else [str(name) for name in fallback]
        return candidates if all(_PLAIN_INTERPRETER.fullmatch(candidate) for candidate in candidates) else []


def program_stream(cache: RunCache, entry: str, request: Mapping[str, Any], check_mode: bool, attached: bytes) -> bytes:
    """Return what the loader on the workspace reads (see ``carried_program``); the modules are packed once per run."""
    sources = (cache.once(f"program-{entry}", lambda directory: _write_sources(entry, directory)) / entry).read_bytes()
    program = (_MODULE_UTILS / _PROGRAM).read_bytes()
    body = json.dumps(request).encode()
    header = {"entry": entry, "check_mode": check_mode, "sizes": [len(sources), len(body), len(attached)]}
    return b"".join([b"%d\n" % len(program), program, json.dumps(header).encode(), b"\n", sources, body, attached])


def _write_sources(entry: str, directory: Path) -> None:
    """Write the modules that ``entry`` needs, itself included, as the program wants them."""
    texts: dict[str, str] = {}
    wanted = [entry, _ALWAYS]
    while wanted:
        name = wanted.pop()
        if name not in texts:
            texts[name] = (_MODULE_UTILS / f"{name}.py").read_text(encoding="utf-8")
            wanted += _own_imports(texts[name])
    (directory / entry).write_bytes(zlib.compress(json.dumps(texts).encode(), 9))


def _own_imports(text: str) -> list[str]:
    """Return the modules beside it that a module imports."""
    found: list[str] = []
    for module, names in _OWN_IMPORT.findall(text):
        found += [module] if module else [name.split(" as ")[0].strip() for name in names.split(",")]
    return found


def _parse(answered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer among what was printed (a login may print something too), or what a module that fails without one returns."""
    lines = [line for line in str(answered["stdout"]).splitlines() if line.startswith(MARK)]
    if lines:
        try:
            answer = json.loads(lines[-1][len(MARK) :])
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
    return {"failed": True, "module_stdout": answered["stdout"], "module_stderr": answered["stderr"], "rc": answered["rc"]}
