# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sphinx's configuration of the documentation site, see tests/docs."""
from __future__ import annotations

import os
import pathlib
import re
import typing as t

import yaml
from sphinx.application import Sphinx
from sphinx.util import logging

REPOSITORY = pathlib.Path(os.environ["DOCS_REPOSITORY"])
GALAXY = yaml.safe_load((REPOSITORY / "galaxy.yml").read_text(encoding="utf-8"))
_LINK_OUT = re.compile(r"\]\((?:\.\./)+([^)#\s]+)(#[^)\s]*)?\)")

project = "molecule_ai.workspace"
version = release = GALAXY["version"]
copyright = "the molecule_ai.workspace maintainers"
html_title = html_short_title = f"molecule_ai.workspace {version}"
extensions = ["myst_parser", "sphinx.ext.intersphinx", "sphinx_antsibull_ext"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_heading_anchors = 4
pygments_style = "ansible"
highlight_language = "YAML+Jinja"
html_theme = "sphinx_ansible_theme"
html_theme_options = {"topbar_links": {}, "documentation_home_url": GALAXY["documentation"]}
html_show_sphinx = False
html_copy_source = False
default_role = "any"
# Without a network, references to other collections' pages stay plain text.
intersphinx_mapping = {"ansible": ("https://docs.ansible.com/projects/ansible/latest/", None)} if os.environ.get("DOCS_INTERSPHINX") else {}


def link_out(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to files of the repository that are no page lead to the repository, and warn of those that lead nowhere."""
    if not app.env.doc2path(page).endswith(".md"):
        return
    directory = "docs/decisions" if page.startswith("decisions/") else "docs"

    def url(link: t.Match[str]) -> str:
        path = os.path.normpath(os.path.join(directory, link[0].split("](", 1)[1].split(")", 1)[0].split("#", 1)[0]))
        if path.startswith("docs/"):
            return link[0]
        if not (REPOSITORY / path).exists():
            logging.getLogger(__name__).warning("link to a file that is not there: %s", path, location=page)
        return f"]({GALAXY['repository']}/blob/main/{path}{link[2] or ''})"

    source[0] = _LINK_OUT.sub(url, source[0])


def setup(app: Sphinx) -> None:
    """Sphinx's entry point."""
    app.connect("source-read", link_out)
