"""The average of weights against an average by hand."""

import pytest
import torch
from torch import nn

from wsss_core.errors import InputError
from wsss_core.training import average_weights


def network(seed, width=3):
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(2, width, 1), nn.BatchNorm2d(width))
    made[1].running_mean.normal_()
    made[1].num_batches_tracked.fill_(7 + seed)
    return made


def test_every_parameter_and_running_mean_is_the_mean_of_the_networks():
    networks = [network(seed) for seed in range(3)]
    soup = average_weights(network(9), networks)
    assert not soup.training
    for name, value in soup.state_dict().items():
        each = [one.state_dict()[name] for one in networks]
        if name.endswith("num_batches_tracked"):
            assert value == each[0]
        else:
            expected = sum(one.double() for one in each) / 3
            torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-6)


def test_the_networks_stay_what_they_were():
    networks = [network(0), network(1)]
    before = [one[0].weight.clone() for one in networks]
    average_weights(network(2), networks)
    assert all(torch.equal(one[0].weight, old) for one, old in zip(networks, before, strict=True))


@pytest.mark.parametrize("networks", [[], [network(0), network(1, 4)], [network(0, 4)]])
def test_networks_of_other_architectures_are_refused(networks):
    with pytest.raises(InputError, match="averages weights of one architecture"):
        average_weights(network(0), networks)
