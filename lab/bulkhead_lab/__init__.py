"""The embedded lab: a real Kubernetes and the world outside it, on one Linux machine.

Standard library only, so that any Python 3.11 of a Debian machine runs it.
"""
