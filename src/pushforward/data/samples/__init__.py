"""Small real data that is at hand without a download: household power, and scikit-learn's digits.

Where the power data comes from, whom to credit and what was changed is told in ``README.md`` beside this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pushforward.data.reader import read_numbers

__all__ = ["POWER_COLUMNS", "POWER_TEST", "POWER_TRAIN", "digits_sample", "power_sample"]

POWER_TRAIN = Path(__file__).with_name("power_train.parquet")
POWER_TEST = Path(__file__).with_name("power_test.parquet")

POWER_COLUMNS = (
    "global_active_power",
    "voltage",
    "sub_metering_1",
    "sub_metering_2",
    "sub_metering_3",
    "minute_of_day",
)


def power_sample() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Training and test rows (rows, 6) of the household power data: `POWER_COLUMNS`, in kW, V, Wh (three times) and
    minutes after midnight.

    >>> train, test = power_sample()
    >>> train.shape, test.shape
    ((60000, 6), (10000, 6))
    """
    return read_numbers(POWER_TRAIN, POWER_COLUMNS), read_numbers(POWER_TEST, POWER_COLUMNS)


def digits_sample() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The 1797 handwritten digits of scikit-learn: brightness 0 to 16 of 8 × 8 pixels, and the labels 0 to 9.

    >>> x, labels = digits_sample()
    >>> x.shape, labels.shape, float(x.max())
    ((1797, 64), (1797,), 16.0)
    """
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    return np.asarray(x, dtype=np.float64), np.asarray(labels, dtype=np.int64)
