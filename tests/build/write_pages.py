# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what is in docs/ and made from something else: pages out of the code's own documentation, diagrams out of their texts.

``make pages``. It is committed, since it belongs to the collection's tarball and is read on the web; test_generated_pages.py fails when something is not
current. Diagrams need Graphviz (``dot``), and only those whose text has changed are drawn.
"""
from __future__ import annotations

import diagrams
import formats_page
import parity_page
import troubleshooting_page
import variables_page

PAGES = (formats_page, parity_page, troubleshooting_page, variables_page)

if __name__ == "__main__":
    for module in PAGES:
        module.PAGE.write_text(module.page(), encoding="utf-8")
    for source in diagrams.sources():
        image = diagrams.image_of(source)
        if not image.exists() or diagrams.mark_of(source) not in image.read_text(encoding="utf-8"):
            image.write_text(diagrams.draw(source), encoding="utf-8")
