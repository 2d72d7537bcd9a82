"""One run on several processes: the batch is dealt out, sums are added up, noise is added once."""

from clifftop.parallel.agreement import (
    agree_on_facts,
    agree_on_parameters,
    agree_on_seed,
    copy_from_rank_zero,
    on_rank_zero,
    share,
)
from clifftop.parallel.data_parallel import DataParallel
from clifftop.parallel.draws import ShardStreams
from clifftop.parallel.ranks import Alone, RankLost, Ranks

__all__ = [
    "Alone",
    "DataParallel",
    "RankLost",
    "Ranks",
    "ShardStreams",
    "agree_on_facts",
    "agree_on_parameters",
    "agree_on_seed",
    "copy_from_rank_zero",
    "on_rank_zero",
    "share",
]
