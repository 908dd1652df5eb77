"""Bugs planted on purpose, by where they live; `test_planted_bugs` checks that each is caught."""
