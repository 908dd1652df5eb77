"""Doctests leave out what cannot be imported here."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("triton") else ["pushforward/univariate/spline_triton.py"]
