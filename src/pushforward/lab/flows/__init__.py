"""Flows that ship with Flow Lab, as files."""
