# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever in the workspace half opens or changes a file does so below an open directory and follows no link. Read from its source, so none is forgotten."""
from __future__ import annotations

import ast
import pathlib

import pytest
from ansible_collections.molecule_ai.workspace.plugins.module_utils import plugin_request

_DIRECTORY = pathlib.Path(plugin_request.__file__).parent
_FLAGS = {"O_NOFOLLOW", "O_CLOEXEC"}
_BELOW = {
    "open": {"dir_fd"}, "stat": {"dir_fd", "follow_symlinks"}, "readlink": {"dir_fd"}, "mkdir": {"dir_fd"}, "unlink": {"dir_fd"}, "rmdir": {"dir_fd"},
    "rename": {"src_dir_fd", "dst_dir_fd"},
}
"""The functions of os that take a name, and the arguments without which they take a path, or follow a link at its end."""
_HARMLESS = {
    "close", "dup", "fchmod", "fchown", "fdopen", "fsencode", "fstat", "fsync", "ftruncate", "geteuid", "getpid", "pread", "pwrite", "read", "strerror",
    "sync", "uname", "urandom", "write", "listdir", "scandir", "path.samestat", "path.dirname", "path.basename", "environ.get",
}
"""Those that take descriptors, texts or nothing; listdir and scandir are looked at besides."""
EXCEPTIONS = {
    "safe_files.open_real_path: os.open without dir_fd": "it opens the root directory, from which it goes down step by step",
    "safe_files.mount_id: open": "a file of the kernel's in /proc, about a descriptor of our own",
    "plugin_store._open_file: os.open without dir_fd": "what Ansible has sent, in its temporary directory, which may not lie in the config dir",
    "engine_arguments._certificate_fallback: pathlib.Path": "options of an engine, which are read on the controller",
    "host_restart.run: shutil.which": "a program of the EC2 host's, looked up only where root installs programs",
}


def problems_of(module: str, text: str) -> set[str]:
    """What in the source of a module takes a path, or may follow a link: ``module.function: what``."""
    tree = ast.parse(text)
    constants = {target.id: node.value for node in tree.body if isinstance(node, ast.Assign) for target in node.targets if isinstance(target, ast.Name)}
    found = set()
    for name, node in _calls(tree):
        called = _dotted(node.func)
        found |= {f"{module}.{name}: {problem}" for problem in _problems(called, node, constants)}
    return found


def _dotted(function: ast.expr) -> str:
    """``os.path.exists`` of such a call; empty for what is called by no name."""
    if isinstance(function, ast.Attribute):
        before = _dotted(function.value)
        return f"{before}.{function.attr}" if before else ""
    return function.id if isinstance(function, ast.Name) else ""


def _calls(tree: ast.Module) -> list[tuple[str, ast.Call]]:
    """Every call, with the innermost function that it is in."""
    found: list[tuple[str, ast.Call]] = []

    def walk(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                found.append((name, child))
            walk(child, child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else name)

    walk(tree, "")
    return found


def _problems(called: str, call: ast.Call, constants: dict[str, ast.expr]) -> set[str]:
    if called in ("open", "io.open") or called.startswith(("shutil.", "tempfile.", "pathlib.", "Path", "glob.")):
        return {called}
    if not called.startswith("os."):
        return set()
    function = called[len("os."):]
    if function not in _BELOW:
        by_descriptor = function not in ("listdir", "scandir") or _dotted(call.args[0]).endswith("_fd")
        return set() if function in _HARMLESS and by_descriptor else {called}
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    missing = {argument for argument in _BELOW[function] if argument not in given}
    found = {f"{called} without {argument}" for argument in missing}
    follows = given.get("follow_symlinks")
    if follows is not None and not (isinstance(follows, ast.Constant) and follows.value is False):
        found.add(f"{called} that follows links")
    if function == "open":
        found |= {f"{called} without {flag}" for flag in _FLAGS - _names(call.args[1], constants)}
    return found


def _names(expression: ast.expr, constants: dict[str, ast.expr]) -> set[str]:
    """The flags in an expression, also by a constant of the module."""
    if isinstance(expression, ast.BinOp) and isinstance(expression.op, ast.BitOr):
        return _names(expression.left, constants) | _names(expression.right, constants)
    if isinstance(expression, ast.Name):
        return _names(constants[expression.id], constants) if expression.id in constants else set()
    return {expression.attr} if isinstance(expression, ast.Attribute) else set()


def test_nothing_takes_a_path_but_what_is_named_here() -> None:
    found: set[str] = set()
    for path in sorted(_DIRECTORY.glob("*.py")):
        found |= problems_of(path.stem, path.read_text(encoding="utf-8"))
    assert found == set(EXCEPTIONS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)", "os.open without O_NOFOLLOW"),
        ("os.open(name, FLAGS, dir_fd=fd)", "os.open without O_NOFOLLOW"),
        ("os.open(name, UNKNOWN | os.O_CLOEXEC, dir_fd=fd)", "os.open without O_NOFOLLOW"),
        ("os.open(name, os.O_NOFOLLOW | os.O_CLOEXEC)", "os.open without dir_fd"),
        ("open(name)", "open"),
        ("os.stat(name, dir_fd=fd)", "os.stat without follow_symlinks"),
        ("os.stat(name, dir_fd=fd, follow_symlinks=True)", "os.stat that follows links"),
        ("os.rename(one, two, src_dir_fd=fd)", "os.rename without dst_dir_fd"),
        ("os.unlink(name)", "os.unlink without dir_fd"),
        ("os.chown(name, 0, 0)", "os.chown"),
        ("os.path.exists(name)", "os.path.exists"),
        ("os.listdir(path)", "os.listdir"),
        ("shutil.rmtree(path)", "shutil.rmtree"),
    ],
)
def test_what_it_would_find(text: str, problem: str) -> None:
    assert problems_of("m", f"FLAGS = os.O_RDONLY | os.O_CLOEXEC\ndef f():\n    return {text}\n") == {f"m.f: {problem}"}


def test_what_it_lets_pass() -> None:
    text = "A = os.O_NOFOLLOW\nB = A | os.O_CLOEXEC\ndef f():\n    os.open(name, B, 0o600, dir_fd=fd)\n    os.listdir(directory.plugins_fd)\n    os.fstat(fd)\n"
    assert problems_of("m", text) == set()
