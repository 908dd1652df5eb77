"""Shards by Spark, and a column of log-densities for data frames of Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pushforward.batch.answers import BatchModel
from pushforward.batch.plan import Shard
from pushforward.batch.task import ShardResult
from pushforward.core.extras import need_packages

__all__ = ["on_spark", "predictor", "score_udf"]


def on_spark(work: Any, shards: Sequence[Shard], workers: int | None) -> Iterator[ShardResult]:
    """The results of all shards, from the executors of the active session of Spark.

    Raises:
        ImportError: Spark is not installed.
    """
    need_packages("--engine spark", "spark", "pyspark")
    from pyspark.sql import SparkSession

    session = SparkSession.builder.getOrCreate()
    numbers = session.sparkContext.parallelize(list(shards), max(1, len(shards)))
    yield from numbers.map(work).collect()  # one job: an iterator would wait for each shard before the next begins


def score_udf(model: BatchModel, batch_size: int = 8192) -> Any:
    """A function for columns of a data frame of Spark, which gives log-densities in nats::

        frame.withColumn("log_density", score_udf(model)(*model.columns))

    Args:
        model: that answers; its columns are the arguments, in their order.
        batch_size: rows at a time.

    Raises:
        ImportError: Spark is not installed.
    """
    need_packages("score_udf", "spark", "pyspark")
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import DoubleType

    return predict_batch_udf(lambda: predictor(model), return_type=DoubleType(), batch_size=batch_size)


def predictor(model: BatchModel) -> Callable[..., np.ndarray[Any, Any]]:
    """What Spark calls with an array (rows,) for each column, and expects an array (rows,) from: the model is read once
    for each worker."""
    names = model.columns

    def predict(*columns: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        table = pa.table({
            name: pa.array(column, from_pandas=True) for name, column in zip(names, columns, strict=True)
        })  # fmt: skip
        scores: np.ndarray[Any, Any] = model.score_batch(table).column("log_density").to_numpy()
        return scores

    return predict
