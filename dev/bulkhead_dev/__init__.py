"""Runs the project's suites and brings the tools they need; start it with dev/run."""
