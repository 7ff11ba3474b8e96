"""The lab: real workspaces to run the collection against, on one machine and without any cloud account.

``PYTHONPATH=tests python -m lab up`` starts it, ``status`` shows it, ``down`` takes it away; ``lab.api.Lab`` is the same for tests.
"""
