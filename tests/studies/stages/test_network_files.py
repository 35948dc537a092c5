"""Networks that share tensors are saved and come back to the bit."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from studies.stages.network_files import restore_network, save_network


class Sharing(nn.Module):
    """Two layers with one weight, a view of part of a buffer, and two empty tensors."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("row", torch.rand(4, 3)[1])
        self.register_buffer("nothing", torch.empty(0, 2))
        self.register_buffer("nothing_else", torch.empty(0, 5))


def alike(one: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_a_shared_tensor_is_written_once(tmp_path: Path) -> None:
    source, target = Sharing(1), Sharing(2)
    save_network(source, tmp_path / "network.safetensors")
    stored = load_file(tmp_path / "network.safetensors")
    assert stored.keys() == source.state_dict().keys() - {"second.weight"}
    restored = restore_network(target, tmp_path / "network.safetensors")
    assert alike(source, restored)
    assert restored.second.weight is restored.first.weight
    assert not restored.training


def test_a_file_with_every_name_is_read_too(tmp_path: Path) -> None:
    """As files were written before."""
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_file(source.state_dict(), tmp_path / "network.safetensors")
    assert alike(source, restore_network(target, tmp_path / "network.safetensors"))


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2, 3)}, tmp_path / "network.safetensors")
    with pytest.raises(RuntimeError, match="bias"):
        restore_network(nn.Linear(3, 2), tmp_path / "network.safetensors")


def test_channels_last_networks_are_written_in_order(tmp_path: Path) -> None:
    source = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save_network(source, tmp_path / "network.safetensors")
    assert torch.equal(load_file(tmp_path / "network.safetensors")["weight"], source.weight)


def test_coat_comes_back(tmp_path: Path) -> None:
    """CoaT registers its position encodings in every block that uses them."""
    options = {
        "img_size": 32,
        "embed_dims": [8, 8, 8, 8],
        "serial_depths": [2, 1, 1, 1],
        "parallel_depth": 1,
        "num_heads": 8,
        "num_classes": 2,
    }
    torch.manual_seed(0)
    source, target = (timm.create_model("coat_tiny", **options).eval() for _ in range(2))
    file = tmp_path / "network.safetensors"
    save_network(source, file)
    assert load_file(file).keys() < source.state_dict().keys()
    restore_network(target, file)
    images = torch.rand(1, 3, 32, 32)
    assert alike(source, target)
    assert torch.equal(source(images), target(images))
