"""Sharing work: what each process gets, and that one alone gets all."""

import pytest
import torch

from pokecam.networks.distributed import ALONE, Team


@pytest.mark.parametrize(("n", "count"), [(10, 3), (2, 4), (0, 2), (7, 1)])
def test_shares_cover_everything_once_and_differ_by_one_at_most(n, count):
    shares = [Team(index, count).share(n) for index in range(count)]
    things = list(range(n))
    assert [thing for share in shares for thing in things[share]] == things
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_one_alone_talks_to_nobody():
    x = torch.arange(3.0)
    assert ALONE.leads
    assert ALONE.gathered(x, 3) is x
    assert ALONE.total(x).equal(x)
    assert ALONE.told("word") == "word"
    assert ALONE.parallel(network := torch.nn.Linear(1, 1)) is network
