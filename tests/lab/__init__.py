# Copyright (c) The molecule_ai.workspace maintainers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: real workspaces to run the collection against, on one machine and without any cloud account.

``PYTHONPATH=tests python -m lab up`` starts it, ``status`` shows it, ``down`` takes it away; ``lab.api.Lab`` is the same for tests.
"""
