"""Tables of any size in shards: scored, filled and sampled by processes of this machine, by Ray or by Spark."""

from pushforward.batch.answers import BatchModel
from pushforward.batch.plan import Shard, ShardPlan
from pushforward.batch.run import ShardReport, run_shards
from pushforward.batch.task import ShardResult

__all__ = ["BatchModel", "Shard", "ShardPlan", "ShardReport", "ShardResult", "run_shards"]


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
