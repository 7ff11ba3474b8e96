# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An independent, small copy of what the runtime's standard adapter does at start, as the platform describes it.

It shares no code with the collection, so that the tests of the removal do not agree with themselves.
"""
from __future__ import annotations

import json
import pathlib
import shutil
import typing

# The releases differ in how they join the blocks; each way is a (block, join, end) of format strings.
JOININGS = {
    "platform": ("{header}\n\n{stripped}", "\n\n", "\n"),
    "described": ("{header}\n\n{stripped}\n\n", "", ""),
    "unstripped": ("{header}\n\n{raw}\n\n", "", ""),
    "tight": ("{header}\n{stripped}", "\n", "\n"),
}


class Adapter:
    """Loads plugins into one config dir.

    ``claude_directory`` is what the runtime calls its ``.claude``; ``deduplicate`` False is a release that adds its handlers at every start.
    """

    def __init__(self, config: pathlib.Path, claude_directory: str, joining: str = "platform", deduplicate: bool = True) -> None:
        self.config = config
        self.claude_directory = claude_directory
        self.joining = joining
        self.deduplicate = deduplicate

    def start(self) -> None:
        """Load every directory below ``plugins``."""
        for plugin in sorted((self.config / "plugins").iterdir()):
            if plugin.is_dir():
                self.load(plugin)

    def load(self, plugin: pathlib.Path, name: typing.Optional[str] = None) -> None:
        """Place one plugin."""
        self._append_texts(plugin, name or plugin.name)
        self._copy_skills(plugin)
        claude = self.config / ".claude"
        claude.mkdir(exist_ok=True)
        self._copy_files(plugin / "hooks", claude / "hooks", lambda file: True)
        self._copy_files(plugin / "commands", claude / "commands", lambda file: file.suffix == ".md")
        self._merge_settings(plugin, claude / "settings.json")

    def _append_texts(self, plugin: pathlib.Path, name: str) -> None:
        rules = sorted((plugin / "rules").glob("*")) if (plugin / "rules").is_dir() else []
        texts = [("rule", file) for file in rules if file.is_file() and file.suffix == ".md"]
        skipped = ("readme.md", "changelog.md", "license.md", "contributing.md")
        texts += [
            ("fragment", file) for file in sorted(plugin.iterdir()) if file.is_file() and file.suffix == ".md" and file.name.lower() not in skipped
        ]
        block, join, end = JOININGS[self.joining]
        blocks = []
        for kind, file in texts:
            raw = file.read_text(encoding="utf-8")
            if kind == "fragment" and not raw.strip():
                continue
            blocks.append(block.format(header=f"# Plugin: {name} / {kind}: {file.name}", stripped=raw.strip(), raw=raw))
        if not blocks:
            return
        memory = self.config / "CLAUDE.md"
        existing = memory.read_bytes().decode("utf-8") if memory.exists() else ""
        if blocks[0].split("\n")[0] in existing:
            return
        text = join.join(blocks) + end
        if existing and not existing.endswith("\n"):
            text = "\n" + text
        with memory.open("ab") as file:
            file.write(text.encode("utf-8"))

    def _copy_skills(self, plugin: pathlib.Path) -> None:
        if not (plugin / "skills").is_dir():
            return
        (self.config / "skills").mkdir(exist_ok=True)
        for skill in sorted((plugin / "skills").iterdir()):
            target = self.config / "skills" / skill.name
            if skill.is_dir() and not target.exists():
                shutil.copytree(skill, target)

    @staticmethod
    def _copy_files(source: pathlib.Path, target: pathlib.Path, selects: typing.Callable[[pathlib.Path], bool]) -> None:
        if not source.is_dir():
            return
        target.mkdir(exist_ok=True)
        for file in sorted(source.iterdir()):
            if file.is_file() and selects(file):
                shutil.copy2(file, target / file.name)

    def _merge_settings(self, plugin: pathlib.Path, settings_file: pathlib.Path) -> None:
        if not (plugin / "settings-fragment.json").is_file():
            return
        fragment = json.loads((plugin / "settings-fragment.json").read_text(encoding="utf-8"))
        for groups in fragment.get("hooks", {}).values():
            for group in groups:
                for handler in group.get("hooks", []):
                    handler["command"] = handler.get("command", "").replace("${CLAUDE_DIR}", self.claude_directory)
        settings = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.exists() else {}
        for event, groups in fragment.get("hooks", {}).items():
            present = settings.setdefault("hooks", {}).setdefault(event, [])
            for group in groups:
                if not self.deduplicate or self._identity(group) not in [self._identity(other) for other in present]:
                    present.append(group)
        self._merge_missing(settings, {key: value for key, value in fragment.items() if key != "hooks"})
        settings.setdefault("hooks", {})
        settings_file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def _identity(group: typing.Dict[str, typing.Any]) -> typing.Tuple[str, typing.FrozenSet[str]]:
        return group.get("matcher", ""), frozenset(handler.get("command", "") for handler in group.get("hooks", []))

    def _merge_missing(self, settings: typing.Dict[str, typing.Any], fragment: typing.Dict[str, typing.Any]) -> None:
        for key, value in fragment.items():
            if isinstance(value, dict) and isinstance(settings.get(key), dict):
                self._merge_missing(settings[key], value)
            elif key not in settings:
                settings[key] = value
