"""The moving average of the weights: what torch's `AveragedModel` computes, to the bit."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pokecam.networks.averaging import MovingAverage


def test_it_is_the_average_of_torch_to_the_bit():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    average = MovingAverage(network, decay=0.9)
    reference = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(5):
        network(torch.rand(2, 3, 8, 8)).square().sum().backward()
        optimiser.step()
        average.update_parameters(network)
        reference.update_parameters(network)
    expected = reference.state_dict()
    assert average.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in average.state_dict().items())
    assert not torch.equal(expected["module.0.weight"], network[0].weight)
    assert expected["module.1.num_batches_tracked"] > 0
