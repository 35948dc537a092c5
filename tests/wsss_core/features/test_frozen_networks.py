"""Necks, frozen parts, and maps that are read in place of being computed."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from wsss_core.backbones import Network, build_network
from wsss_core.cams import CamSettings, cams
from wsss_core.data.network_input import to_input
from wsss_core.errors import InputError
from wsss_core.features import (
    NECKS,
    FeatureCache,
    OutputCache,
    ViewStack,
    add_neck,
    cam_views,
    cams_from_features,
    make_features,
    make_outputs,
    read_outputs,
)
from wsss_core.training import TrainingSettings, freeze, moving_state, train
from wsss_core.transfer import Single

SIZE = 32
IMAGES = np.random.default_rng(0).integers(0, 256, (10, SIZE, SIZE, 3), np.uint8)
LABELS = np.arange(10)[:, None] % 2 == 0


def cnn(classes: int = 1) -> Network:
    torch.manual_seed(0)
    options = {"channels": [4, 8, 16, 32]}
    return build_network(
        "resnet18", classes=classes, image_size=SIZE, output_stride=8, options=options
    )


def vit(classes: int = 1) -> Network:
    torch.manual_seed(0)
    options = {"patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 3}
    return build_network("vit_tiny_patch16_224", classes=classes, image_size=SIZE, options=options)


def features(network: Network, folder: Path, dtype: str, side: int = SIZE, mirrored: bool = False):
    file = folder / f"{dtype}-{side}-{mirrored}.npy"
    make_features(network, IMAGES, file, side=side, mirrored=mirrored, dtype=dtype, batch_size=4)
    return np.load(file, mmap_mode="r")


@pytest.mark.parametrize("kind", NECKS)
def test_a_neck_begins_as_the_identity_and_can_change_the_channels(kind):
    plain, inputs = vit().eval(), to_input(IMAGES[:2], "cpu")
    same, narrow = copy.deepcopy(plain), copy.deepcopy(plain)
    add_neck(same, kind)
    add_neck(narrow, kind, 12)
    with torch.no_grad():
        torch.testing.assert_close(same(inputs).logits, plain(inputs).logits)
        assert narrow(inputs).features.shape == (2, 12, 4, 4)
    assert narrow.channels_at(None) == 12
    same(inputs).logits.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in same.neck.parameters())


@pytest.mark.parametrize(
    ("name", "head", "options"),
    [
        ("resnet18", "pcm", {"channels": [4, 8, 16, 32]}),
        (
            "conformer_tiny_patch16",
            "transcam",
            {"channel_ratio": 0.5, "embed_dim": 24, "depth": 3, "num_heads": 3},
        ),
    ],
)
@pytest.mark.parametrize("channels", [None, 12])
def test_a_neck_is_refused_under_heads_that_look_into_the_encoder(name, head, options, channels):
    network = build_network(name, classes=1, image_size=64, head=head, options=options)
    linear = network.head
    with pytest.raises(InputError, match=f"^neck: the head {head} looks into the encoder"):
        add_neck(network, "conv1x1", channels)
    assert network.neck is None
    assert network.head is linear


def trainable(network: Network) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


def test_head_and_neck_leave_the_encoder_out():
    head, neck = cnn(), cnn()
    add_neck(neck, "mlp")
    freeze(head, "head")
    freeze(neck, "neck")
    assert trainable(head) == {"head.weight", "head.bias"}
    assert {name.split(".")[0] for name in trainable(neck)} == {"neck", "head"}
    assert not any(module.training for module in head.train().encoder.modules())


def test_last_blocks_of_a_vit_and_last_stages_of_a_cnn_learn():
    of_vit, of_cnn = vit(), cnn()
    freeze(of_vit, {"last": 2})
    freeze(of_cnn, {"last": 1})
    blocks = {name.split("blocks.")[1][0] for name in trainable(of_vit) if "blocks." in name}
    assert blocks == {"2", "3"}
    assert "encoder.vit.norm.weight" in trainable(of_vit)
    assert {name.split(".")[2] for name in trainable(of_cnn) if "encoder" in name} == {"layer4"}
    of_cnn.train()
    assert not of_cnn.encoder.extractor.layer3.training
    assert of_cnn.encoder.extractor.layer4[0].bn1.training


@pytest.mark.parametrize(("network", "count"), [(vit, 5), (cnn, 5)])
def test_more_last_layers_than_there_are_is_an_error_in_a_line(network, count):
    with pytest.raises(InputError, match="train: last 5: expected 1 to"):
        freeze(network(), {"last": count})


def test_frozen_statistics_stay_and_the_checkpoint_leaves_them_out():
    network = cnn()
    freeze(network, {"last": 1})
    before = copy.deepcopy(network.state_dict())
    paradigm = Single(network)
    train(paradigm, IMAGES, LABELS, TrainingSettings(epochs=1, batch_size=5), seed=0)
    moved = {name for name, value in network.state_dict().items() if (value != before[name]).any()}
    assert any("layer4" in name and "running_mean" in name for name in moved)
    assert {n.split(".")[2] for n in moved if n.startswith("encoder")} == {"layer4"}
    kept = moving_state(paradigm).state_dict()
    assert {f"student.{name}" for name in moved} <= kept.keys()
    assert not any("layer3" in name for name in kept)


def test_float32_features_train_a_head_as_the_encoder_itself_does(tmp_path):
    settings = TrainingSettings(epochs=3, batch_size=4, learning_rate=0.01, flip=True)
    heads = []
    for cached in (False, True):
        network = cnn()
        freeze(network, "head")
        paradigm = Single(network)
        if cached:
            views = [features(network, tmp_path, "float32", mirrored=m) for m in (False, True)]
            network.cache = FeatureCache(ViewStack(views))
            paradigm.caches, paradigm.needs_images = [network.cache], False
        images = np.zeros_like(IMAGES) if cached else IMAGES  # nothing rests on them
        train(paradigm, images, LABELS, settings, seed=1)
        heads.append(network.head.weight.detach())
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-4, atol=1e-6)


class SmallMemory(FeatureCache):
    """Maps of more than two images do not fit."""

    def maps(self):
        found = super().maps()
        if len(found) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found


def test_micro_batches_of_features_take_the_step_of_the_whole_batch(tmp_path):
    settings = TrainingSettings(epochs=2, batch_size=5, learning_rate=0.01)
    heads = []
    for kind in (FeatureCache, SmallMemory):
        network = vit(classes=2)
        add_neck(network, "transformer")
        freeze(network, "neck")
        paradigm = Single(network)
        network.cache = kind(ViewStack([features(network, tmp_path, "float16")]))
        paradigm.caches, paradigm.needs_images = [network.cache], False
        labels = np.concatenate([LABELS, ~LABELS], axis=1)
        history = train(paradigm, IMAGES, labels, settings, seed=1)
        heads.append(network.head.weight.detach())
    assert history[-1].micro_batch == 2
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-3, atol=1e-5)


def test_float16_features_differ_by_their_rounding_alone(tmp_path):
    network = vit()
    whole, half = (features(network, tmp_path, dtype) for dtype in ("float32", "float16"))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, whole.astype(np.float16))
    assert whole.nbytes == 10 * 24 * 16 * 4


def test_features_beyond_float16_are_an_error_that_names_the_way_out(tmp_path):
    network = vit()
    with torch.no_grad():
        network.encoder.vit.norm.weight.fill_(1e6)
    with pytest.raises(InputError, match=r"beyond float16.*`caches`"):
        features(network, tmp_path, "float16")


@pytest.mark.parametrize("network", [vit, cnn])
@pytest.mark.parametrize(
    "cam",
    [CamSettings(), CamSettings(scales=(0.5, 1, 1.5), flip=True), CamSettings(scales=(0.5,))],
)
def test_cams_of_stored_features_are_those_of_the_images(network, cam, tmp_path):
    made = network(classes=2)
    add_neck(made, "conv")
    expected = cams(made, IMAGES, cam)
    stored = {
        (side, mirrored): features(made, tmp_path, "float32", side, mirrored)
        for side, mirrored in cam_views(made, SIZE, cam)
    }
    found = cams_from_features(made, stored, SIZE, cam, batch_size=3)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
    room = 1e-2 * np.abs(expected.maps).max()
    np.testing.assert_allclose(found.maps, expected.maps, atol=room)


def test_uploaded_views_give_the_rows_that_are_read(tmp_path):
    views = [np.random.default_rng(n).random((9, 2, 3, 3), np.float32) for n in (0, 1)]
    places, mirrored = np.array([8, 0, 3]), np.array([True, False, True])
    read, uploaded = ViewStack(views), ViewStack(views, room=lambda _: 10 * views[0].nbytes)
    scarce = ViewStack(views, room=lambda _: 3 * views[0].nbytes)
    assert (read.uploaded, scarce.uploaded) == (None, None)
    assert uploaded.uploaded is not None
    expected = np.stack([views[1][8], views[0][0], views[1][3]])
    for stack in (read, uploaded, scarce):
        np.testing.assert_array_equal(stack.at(places, mirrored), expected)
    np.testing.assert_array_equal(read.at(places, None), views[0][places])


@pytest.mark.parametrize(("network", "taps"), [(vit, (1,)), (cnn, ("layer2",))])
def test_a_teacher_s_answers_come_back_to_the_bit(network, taps, tmp_path):
    teacher = network().eval()
    assert make_outputs(
        teacher,
        IMAGES,
        tmp_path,
        mirrored=True,
        taps=taps,
        parts=("features", "tap_0"),
        batch_size=4,
    )
    cache = OutputCache([read_outputs(tmp_path)])
    places = np.array([7, 2, 5])
    cache.look(places, None)
    found = cache.output()
    with torch.no_grad():
        expected = teacher(to_input(IMAGES[places], "cpu").flip(-1), taps)
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.taps[0], expected.taps[0])
    assert found.logits.isnan().all()  # not kept
    assert found.logits.shape == expected.logits.shape


class BatchNormed(torch.nn.Module):
    """A network like a plug-in's whose answers depend on the batch, as its norm never evaluates."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = cnn()

    def forward(self, images, taps=()):
        return self.inner(images - images.mean(), taps)


def test_answers_that_depend_on_the_batch_are_not_kept_as_float32(tmp_path):
    exact = make_outputs(
        BatchNormed(),
        IMAGES,
        tmp_path,
        mirrored=False,
        taps=(),
        parts=("features",),
        batch_size=4,
    )
    assert not exact
    assert read_outputs(tmp_path).arrays == {}
