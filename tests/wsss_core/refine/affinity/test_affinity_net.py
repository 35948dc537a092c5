"""AffinityNet over a frozen CNN or ViT: its affinity, what it learns, what it leaves alone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import wsss_core.refine.affinity.heads
import wsss_core.refine.affinity.training
from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.refine.affinity.heads import (
    AffinityNet,
    feature_affinity,
)
from wsss_core.refine.affinity.random_walk import half_disc
from wsss_core.refine.affinity.settings import AFFINITY_PRESETS, AffinitySettings
from wsss_core.refine.affinity.training import at_grid, default_layers, encoder_maps, pair_labels

SIZE, STRIDE = 64, 8
SETTINGS = AffinitySettings(
    stride=STRIDE, radius=3, widths=(16,) * 4, epochs=15, batch_size=4, learning_rate=1e-2
)
DARK, LIGHT = np.array((60, 60, 160)), np.array((200, 170, 60))


def two_colours(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of two noisy colours with an upright border, and what is where on the 8 x 8 grid."""
    random = np.random.default_rng(seed)
    cells = random.integers(2, 7, count)
    right = np.arange(SIZE) >= STRIDE * cells[:, None, None]
    plain = np.where(np.broadcast_to(right, (count, SIZE, SIZE))[..., None], LIGHT, DARK)
    images = np.clip(plain + random.normal(0, 12, plain.shape), 0, 255).astype(np.uint8)
    classes = np.broadcast_to(np.arange(SIZE // STRIDE) >= cells[:, None, None], (count, 8, 8))
    return images, classes.astype(np.uint8)


def sure_only(classes: np.ndarray, seed: int) -> np.ndarray:
    """The same with half of the locations not sure."""
    unsure = np.random.default_rng(seed).random(classes.shape) < 0.5
    return np.where(unsure, 255, classes).astype(np.uint8)


@pytest.fixture(params=["cnn", "vit"])
def network(request: pytest.FixtureRequest) -> Network:
    options = {"depth": 4} if request.param == "vit" else {}
    return request.getfixturevalue(request.param)(size=SIZE, **options)


def trained(network: Network, settings: AffinitySettings = SETTINGS, seed: int = 0) -> AffinityNet:
    images, classes = two_colours(0, 16)
    return AffinityNet.trained(network, images, sure_only(classes, 1), settings, seed=seed)


def test_affinity_is_exp_of_minus_the_mean_absolute_difference_of_each_pair():
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    found = feature_affinity(torch.from_numpy(features), 3).numpy()
    for number, (dy, dx) in enumerate(half_disc(3)):
        for image, y, x in np.ndindex(2, 4, 5):
            expected = 0.0
            if y + dy < 4 and 0 <= x + dx < 5:
                pair = features[image, :, y, x], features[image, :, y + dy, x + dx]
                expected = np.exp(-np.mean([abs(a - b) for a, b in zip(*pair, strict=True)]))
            assert found[image, number, y, x] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("grid", [(1, 6), (6, 1), (1, 1), (2, 3)])
def test_on_a_grid_smaller_than_the_radius_there_are_the_pairs_that_fit(grid):
    features = torch.rand(1, 4, *grid, requires_grad=True)
    found = feature_affinity(features, 5)
    assert found.shape == (1, 34, *grid)
    everywhere = pair_labels(torch.zeros(1, *grid, dtype=torch.uint8), 5).background
    assert torch.equal(found > 0, everywhere)
    found.sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_the_gradient_of_the_affinity_is_its_derivative():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 2, 3, 3)))
    assert torch.autograd.gradcheck(lambda f: feature_affinity(f, 2), features.requires_grad_())


@pytest.mark.parametrize("block", [1, 30, 60, 10_000])
def test_differences_in_blocks_are_those_of_the_whole(block, monkeypatch):
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 2, 5, 4)))
    weights = torch.from_numpy(np.random.default_rng(2).normal(size=(3, len(half_disc(3)), 5, 4)))

    def in_blocks(most):
        monkeypatch.setattr(wsss_core.refine.affinity.heads, "_BLOCK", most)
        own = features.clone().requires_grad_()
        found = feature_affinity(own, 3)
        (found * weights).sum().backward()
        return found.detach(), own.grad

    for found, expected in zip(in_blocks(block), in_blocks(1 << 17), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def test_maps_that_are_too_many_to_keep_are_made_in_every_epoch(network, monkeypatch):
    kept = trained(network)
    monkeypatch.setattr(wsss_core.refine.affinity.training, "_MOST_KEPT", 0)
    made = without_room_for(SETTINGS.batch_size, monkeypatch)
    anew = trained(network)
    assert len(made) == 4 * SETTINGS.epochs
    for one, two in zip(kept.parameters(), anew.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_training_tells_pairs_of_one_colour_from_pairs_of_two_on_images_not_seen(network):
    images, classes = two_colours(7, 8)
    pairs = pair_labels(torch.from_numpy(classes), SETTINGS.radius)
    found = trained(network).predict(network, images, SETTINGS)
    alike, unlike = found[pairs.background | pairs.foreground], found[pairs.negative]
    assert alike.mean() > unlike.mean() + 0.4
    # Not only on average: nine of ten pairs lie on their side of the middle.
    middle = (alike.mean() + unlike.mean()) / 2
    assert (alike > middle).float().mean() > 0.9
    assert (unlike < middle).float().mean() > 0.9


def test_training_is_a_function_of_its_seed(network):
    state, quick = torch.get_rng_state(), replace(SETTINGS, epochs=2)
    first, again, other = (trained(network, quick, seed) for seed in (0, 0, 1))
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.mix.weight, other.mix.weight)
    assert torch.equal(torch.get_rng_state(), state)


def without_room_for(most: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let memory run out beyond `most` images at once; the sizes that were tried."""
    tried: list[int] = []

    def maps(network: Network, inputs: torch.Tensor, layers: object) -> list[torch.Tensor]:
        tried.append(len(inputs))
        if len(inputs) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return encoder_maps(network, inputs, layers)

    monkeypatch.setattr(wsss_core.refine.affinity.training, "encoder_maps", maps)
    return tried


def test_where_memory_runs_out_batches_are_halved_and_it_learns_all_the_same(network, monkeypatch):
    tried = without_room_for(2, monkeypatch)
    head = trained(network)
    # Found out once, not at every step; later epochs find the maps of the first.
    assert tried == [4] + [2] * 8
    monkeypatch.undo()
    images, classes = two_colours(7, 8)
    pairs = pair_labels(torch.from_numpy(classes), SETTINGS.radius)
    found = head.predict(network, images, SETTINGS)
    assert found[pairs.background | pairs.foreground].mean() > found[pairs.negative].mean() + 0.4


def test_a_single_image_that_does_not_fit_is_an_error_that_says_where(cnn, monkeypatch):
    without_room_for(0, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError, match="learning affinities"):
        trained(cnn(size=SIZE))


def test_the_frozen_network_stays_as_it_is_to_the_bit(network):
    network.train()
    before = copy.deepcopy(network.state_dict())
    head = trained(network, replace(SETTINGS, epochs=2))
    head.predict(network, two_colours(7, 2)[0], SETTINGS)
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_head_that_was_saved_predicts_the_same(network, tmp_path):
    head, images = trained(network, replace(SETTINGS, epochs=1)), two_colours(7, 2)[0]
    torch.save(head.state_dict(), tmp_path / "head.pt")
    again = AffinityNet.over(network, SETTINGS)
    again.load_state_dict(torch.load(tmp_path / "head.pt", weights_only=True))
    expected = head.predict(network, images, SETTINGS)
    assert torch.equal(again.predict(network, images, SETTINGS), expected)


def test_the_size_of_the_batch_changes_nothing_but_rounding(network):
    head, images = AffinityNet.over(network, SETTINGS), two_colours(7, 5)[0]
    whole = head.predict(network, images, SETTINGS, batch_size=5)
    torch.testing.assert_close(head.predict(network, images, SETTINGS, batch_size=2), whole)


def test_without_any_sure_pixel_the_loss_is_0_and_the_head_stays_what_it_was(cnn):
    network, (images, classes) = cnn(size=SIZE), two_colours(0, 4)
    losses = []
    head = AffinityNet.trained(
        network, images, np.full_like(classes, 255), SETTINGS, seed=0,
        on_epoch=lambda epoch, loss: losses.append((epoch, loss)),
    )  # fmt: skip
    assert losses == [(epoch, 0.0) for epoch in range(SETTINGS.epochs)]
    torch.manual_seed(0)
    for one, fresh in zip(
        head.parameters(), AffinityNet.over(network, SETTINGS).parameters(), strict=True
    ):
        assert torch.equal(one, fresh)


def test_labels_at_the_images_size_are_read_at_the_grid(cnn):
    network, (images, classes) = cnn(size=SIZE), two_colours(0, 4)
    large = classes.repeat(STRIDE, axis=1).repeat(STRIDE, axis=2)
    quick = AffinitySettings(stride=STRIDE, radius=3, widths=(8, 8), epochs=1)
    one = AffinityNet.trained(network, images, classes, quick, seed=0)
    two = AffinityNet.trained(network, images, large, quick, seed=0)
    assert torch.equal(one.mix.weight, two.mix.weight)


def test_layers_of_several_grids_meet_on_the_one_asked_for(cnn):
    settings = AffinitySettings(stride=16, widths=(8, 8, 8), layers=("act1", "layer2", "layer4"))
    network = cnn(size=SIZE)
    head = AffinityNet.over(network, settings)
    assert [layer.in_channels for layer in head.reduce] == [
        network.channels_at(layer) for layer in settings.layers
    ]
    assert head.predict(network, two_colours(0, 2)[0], settings).shape == (2, 34, 4, 4)


def test_the_default_layers_are_a_cnns_last_stages_and_a_vits_blocks_at_even_distances(cnn, vit):
    assert default_layers(cnn(), 3) == ("layer2", "layer3", "layer4")
    assert default_layers(vit(depth=12), 3) == (3, 7, 11)
    assert default_layers(vit(depth=2), 5) == (0, 1)


def test_a_network_that_does_not_list_its_layers_needs_them_named():
    class Own(torch.nn.Module):
        pass

    with pytest.raises(InputError, match="name them in `layers`"):
        default_layers(Own(), 3)


def test_maps_are_averaged_to_a_coarser_grid():
    maps = torch.arange(16.0).view(1, 1, 4, 4)
    assert at_grid(maps, (2, 2)).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    assert at_grid(maps, (4, 4)) is maps
    assert at_grid(maps, (8, 8)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "stride", "radius", "training_radius", "beta", "squarings"),
    [
        ("psa", 8, 5, 5, 8, 8),
        ("irn", 4, 5, 10, 10, 8),
        ("transcam", 8, 5, 5, 14, 7),
        ("thesis", 16, 5, 5, 16, 1),
    ],
)
def test_the_presets_are_those_of_their_sources(
    name, stride, radius, training_radius, beta, squarings
):
    preset = AFFINITY_PRESETS[name]
    assert (preset.stride, preset.radius, preset.training_radius) == (
        stride,
        radius,
        training_radius,
    )
    assert (preset.beta, preset.squarings) == (beta, squarings)


@pytest.mark.parametrize(
    "settings",
    [{"stride": 0}, {"radius": 1}, {"train_radius": 1}, {"beta": 0.0}, {"squarings": 17},
     {"widths": ()}, {"widths": (8, 0)}, {"layers": (0, 1, 2, 3)}, {"epochs": 0},
     {"batch_size": 0}, {"learning_rate": float("inf")}],
)  # fmt: skip
def test_settings_outside_their_range_are_an_error_that_names_them(settings):
    with pytest.raises(InputError, match=f"^{next(iter(settings))} is "):
        AffinitySettings(**settings)


def test_images_and_labels_that_do_not_meet_are_an_error(cnn):
    network, (images, classes) = cnn(size=SIZE), two_colours(0, 2)
    with pytest.raises(InputError, match="got 2 images, 1 labels"):
        AffinityNet.trained(network, images, classes[:1], SETTINGS, seed=0)
    with pytest.raises(InputError, match=r"expected images uint8 \[N, H, W, 3\]"):
        AffinityNet.trained(network, images / 255, classes, SETTINGS, seed=0)
    with pytest.raises(InputError, match=r"expected labels uint8 \[B, H, W\]"):
        AffinityNet.trained(network, images, classes.astype(np.int64), SETTINGS, seed=0)
