"""The shares of several processes, and the single process that does everything."""

import pytest
import torch

from pokecam.networks.distributed import SINGLE_PROCESS, Team


@pytest.mark.parametrize(("n", "count"), [(10, 3), (2, 4), (0, 2), (7, 1)])
def test_shares_cover_everything_once_and_differ_by_one_at_most(n, count):
    shares = [Team(index, count).share(n) for index in range(count)]
    items = list(range(n))
    assert [item for share in shares for item in items[share]] == items
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_a_single_process_does_not_communicate():
    x = torch.arange(3.0)
    assert SINGLE_PROCESS.is_main
    assert SINGLE_PROCESS.all_gather(x, 3) is x
    assert SINGLE_PROCESS.all_reduce(x).equal(x)
    assert SINGLE_PROCESS.broadcast_object("word") == "word"
    assert SINGLE_PROCESS.data_parallel(network := torch.nn.Linear(1, 1)) is network
