"""The scripts are written for Opacus, which is not installed: they are run, changed, by a test."""

collect_ignore_glob = ["scripts/*.py"]
