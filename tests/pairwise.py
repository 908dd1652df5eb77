"""A small set of configurations in which every two options meet with each pair of their values."""

import itertools
import random


def pairwise(factors):
    """Rows such that any two factors take every pair of their values in some row; greedy, and the same in every run.

    Args:
        factors: values by factor, each a list; the first value is the factor's default.

    >>> rows = pairwise({"a": [1, 2], "b": [1, 2], "c": [1, 2]})
    >>> len(rows) <= 6
    True
    """
    names = list(factors)
    missing = {pair for a, b in itertools.combinations(names, 2) for pair in pairs_of(factors, a, b)}
    draw = random.Random(0)
    rows = []
    while missing:
        (a, value_a), (b, value_b) = min(missing, key=repr)
        tries = []
        for _ in range(30):
            row = {name: draw.choice(factors[name]) for name in names} | {a: value_a, b: value_b}
            tries.append((len(missing & pairs_in(row)), row))
        best = max(tries, key=lambda entry: entry[0])[1]
        missing -= pairs_in(best)
        rows.append(best)
    if not rows:  # fewer than two factors
        rows = [{name: value} for name in names for value in factors[name]]
    return rows


def pairs_of(factors, a, b):
    """Every pair of values of two factors."""
    return {((a, x), (b, y)) for x, y in itertools.product(factors[a], factors[b])}


def pairs_in(row):
    """Every pair of values in a row."""
    return set(itertools.combinations(row.items(), 2))
