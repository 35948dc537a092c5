"""CAMs of CLIP's text against CLIP as transformers has it, and WeCLIP's recipe on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from wsss_core.backbones import build_network
from wsss_core.cams import CamSettings, cams, gradient_cams
from wsss_core.errors import InputError
from wsss_core.refine import load_foundation
from wsss_core.segmentation import SegmenterSettings
from wsss_core.single_stage import (
    MapsOnTheFly,
    SingleStage,
    TextNetwork,
    affinity_labels,
    affinity_loss,
    balanced_segmentation_loss,
    build_single_stage,
    chosen_attention,
    decoder_affinity,
    doubly_stochastic,
    for_classes,
    gradient_text_maps,
    in_boxes,
    prepare,
    recipe_of,
    rival_sentences,
    text_class_maps,
)
from wsss_core.single_stage.label_maker import LabelMaker
from wsss_core.training import TrainingSettings, train

pytest.importorskip("transformers")

MODEL = "vit_base_patch16_clip_quickgelu_224"
TINY = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 1.0}
CLASSES = ("smoke", "steam", "fog")
CHANGES: dict[str, Any] = {
    "prompt": "a {}.",  # the tiny CLIP reads ten letters
    "background_words": ["sky", "tree"],
    "attention_blocks": 2,
    "affinity_radius": 1,
    "decoder_options": {"width": 8, "layers": 1, "heads": 2, "dropout": 0.0},
    "refiner_options": {"dilations": (1, 2), "iterations": 2},
}


def recipe(**more: Any) -> Any:
    return for_classes(recipe_of({"name": "weclip", **CHANGES, **more})[1], CLASSES)


@pytest.fixture
def clip(checkpoint: Callable[[str], Path]) -> Callable[..., TextNetwork]:
    """The tiny CLIP's image encoder by timm, with the texts of three classes and two rivals."""

    def build(settings: Any = None, size: int = 16) -> TextNetwork:
        settings = settings or recipe()
        folder = checkpoint("clip")
        torch.manual_seed(0)
        network = build_network(
            MODEL,
            classes=3,
            image_size=size,
            weights=str(folder / "model.safetensors"),
            options=TINY,
        )
        found = prepare(network, settings)
        assert isinstance(found, TextNetwork)
        found.read_texts(folder, settings.prompts, rival_sentences(settings))
        return found

    return build


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(3))


def theirs(folder: Path, images: torch.Tensor) -> tuple[Any, dict[str, Any]]:
    """CLIP of transformers, and what it takes: five sentences, and images of its own size."""
    model, processor = load_foundation("clip", folder)
    texts = [f"a {one}." for one in (*CLASSES, "sky", "tree")]
    given = processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    mean, std = (
        torch.tensor(getattr(processor.image_processor, f"image_{name}")).view(1, 3, 1, 1)
        for name in ("mean", "std")
    )
    return model, {**given, "pixel_values": (images - mean) / std}


@pytest.mark.ci
def test_logits_and_features_are_those_of_clip_in_transformers(
    clip: Callable[..., TextNetwork], checkpoint: Callable[[str], Path]
) -> None:
    images = pictures()
    model, given = theirs(checkpoint("clip"), images)
    with torch.no_grad():
        expected = model(**given)
        answer = clip().eval().answers(images)
        hidden = model.vision_model.post_layernorm(
            expected.vision_model_output.last_hidden_state[:, 1:]
        )
    both = torch.cat([answer.classes, answer.rivals], 1)
    torch.testing.assert_close(both, expected.logits_per_image, atol=1e-5, rtol=1e-5)
    features = hidden.transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(answer.features, features, atol=1e-5, rtol=1e-5)
    output = clip().eval()(images)
    odds = expected.logits_per_image[:, :3].exp() / expected.logits_per_image[:, 3:].exp().sum(
        1, keepdim=True
    )
    torch.testing.assert_close(output.logits, odds.log(), atol=1e-5, rtol=1e-5)


@pytest.mark.ci
def test_maps_are_grad_cams_of_the_softmax_among_present_classes_and_background(
    clip: Callable[..., TextNetwork], checkpoint: Callable[[str], Path]
) -> None:
    images, present = pictures(), torch.tensor([[True, False, True], [False, True, False]])
    settings = recipe()
    maps, attention = gradient_text_maps(clip(settings), images, present, settings)
    model, given = theirs(checkpoint("clip"), images)
    kept: list[torch.Tensor] = []
    layer = model.vision_model.encoder.layers[-1]
    handle = layer.layer_norm1.register_forward_hook(lambda m, i, o: kept.append(o))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    logits = model(**given).logits_per_image
    handle.remove()
    for image, there in enumerate(present):
        columns = [*(k for k in range(3) if there[k]), 3, 4]
        shares = logits[image, columns].softmax(0)
        for place, k in enumerate(columns[:-2]):
            (gradient,) = torch.autograd.grad(shares[place], kept[0], retain_graph=True)
            weights = gradient[image, 1:].mean(0)
            expected = (kept[0][image, 1:] @ weights).relu().reshape(4, 4).detach()
            torch.testing.assert_close(
                maps[image, k] / maps[image, k].max(),
                expected / expected.max(),
                atol=1e-3,
                rtol=1e-3,
            )
    assert not maps[1, 0].any()  # nobody asked for it
    assert attention.shape == (2, 2, 16, 16)
    assert not maps.requires_grad


@pytest.mark.ci
def test_the_studys_grad_cam_of_one_class_is_the_same_map(
    clip: Callable[..., TextNetwork],
) -> None:
    settings = recipe()
    network, images = clip(settings).eval(), pictures()
    pixels = (images * 255).round()
    present = torch.tensor([[True, False, False]] * 2)
    expected, _ = gradient_text_maps(network, pixels / 255, present, settings)
    points = gradient_cams(network, pixels / 255, (-1,))[0][0][:, 0]
    asked = CamSettings(method="grad_cam", layers=(-1,))
    found = cams(network, pixels.byte().permute(0, 2, 3, 1).numpy(), asked).maps[:, 0]
    for one, other, enlarged in zip(points, expected[:, 0], found, strict=True):
        torch.testing.assert_close(one / one.max(), other / other.max(), atol=1e-3, rtol=1e-3)
        assert np.asarray(enlarged).max() > 0


def test_attention_is_balanced_three_times_made_symmetric_and_squared() -> None:
    given = np.random.default_rng(0).random((2, 5, 5))
    found = doubly_stochastic(torch.from_numpy(given), 3).numpy()
    for matrix, result in zip(given, found, strict=True):
        expected = matrix.copy()
        for _ in range(3):
            for column in range(5):
                expected[:, column] /= expected[:, column].sum()
            for row in range(5):
                expected[row] /= expected[row].sum()
        expected = (expected + expected.T) / 2
        np.testing.assert_allclose(result, expected @ expected, rtol=1e-12)


def test_blocks_far_from_the_decoders_affinity_do_not_count() -> None:
    rng = np.random.default_rng(0)
    affinity = rng.random((1, 3, 3))
    near, far = affinity + 0.1 * rng.random((1, 3, 3)), affinity + 3
    other = affinity - 0.2 * rng.random((1, 3, 3))
    attention = torch.from_numpy(np.stack([near[0], far[0], other[0]])[None])
    found = chosen_attention(attention, torch.from_numpy(affinity))
    np.testing.assert_allclose(found[0], (near[0] + other[0]) / 2 * affinity[0])


def test_boxes_lie_around_each_connected_part() -> None:
    map_ = torch.tensor(
        [
            [0.0, 0.9, 0.0, 0.0, 0.0],
            [1.0, 0.0, 0.0, 0.0, 0.5],
            [0.0, 0.0, 0.0, 0.0, 0.3],
        ]
    )
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert in_boxes(map_[None, None], 0.4)[0, 0].int().tolist() == expected
    assert not in_boxes(torch.zeros(1, 1, 2, 2), 0.4).any()


def unit(maps: np.ndarray) -> np.ndarray:
    maps = maps - maps.min()
    return maps / (maps.max() + 1e-5)


@pytest.mark.ci
def test_a_map_moves_once_along_the_attention_inside_its_boxes(
    clip: Callable[..., TextNetwork],
) -> None:
    settings = recipe()
    network, images = clip(settings), pictures()
    present = torch.tensor([[True, False, True], [False, False, False]])
    affinity = torch.rand(2, 16, 16)
    raw, attention = gradient_text_maps(network, images, present, settings)
    for chosen in (None, affinity):
        found = text_class_maps(network, images, present, settings, decoder_affinity=chosen)
        assert found.maps.shape == (2, 3, 16, 16)
        assert not found.maps[:, 1].any()
        assert not found.maps[1].any()
        between = attention[0].mean(0) if chosen is None else chosen_attention(attention, chosen)[0]
        moved = doubly_stochastic(between[None], 3)[0].numpy()
        for k in (0, 2):
            own = unit(raw[0, k].numpy())
            own = own * in_boxes(torch.from_numpy(own)[None, None], 0.4)[0, 0].numpy()
            small = torch.from_numpy(unit((moved @ own.ravel()).reshape(4, 4)))
            expected = F.interpolate(small[None, None].float(), (16, 16), mode="bilinear")
            torch.testing.assert_close(found.maps[0, k], expected[0, 0], atol=1e-4, rtol=1e-4)


def test_the_background_is_what_no_class_claims_and_no_pixel_is_unknown() -> None:
    settings = recipe(refiner="none", refiner_options={}, shrink=1)
    maps = torch.tensor([[[[0.9, 0.6, 0.4, 0.0]], [[0.95, 0.7, 0.2, 0.3]], [[1.0, 1.0, 1.0, 1.0]]]])
    found = MapsOnTheFly(maps, None, (1, 4))
    present = torch.tensor([[True, True, False]])
    labels = LabelMaker(settings)(torch.zeros(1, 3, 1, 4), found, present)
    assert labels.tolist() == [[[2, 2, 0, 0]]]


@pytest.fixture
def weclip(clip: Callable[..., TextNetwork]) -> Callable[..., SingleStage]:
    def build(**more: Any) -> SingleStage:
        settings = recipe(**more)
        network = clip(settings)
        decoder = SegmenterSettings(settings.decoder, MODEL, options=settings.decoder_options)
        torch.manual_seed(0)
        return build_single_stage(
            {"student": network}, settings, {"student": decoder}, image_size=16
        )

    return build


@pytest.mark.ci
def test_the_loss_is_segmentation_and_a_tenth_of_the_decoders_affinity(
    weclip: Callable[..., SingleStage],
) -> None:
    paradigm = weclip().eval()
    images, labels = pictures(), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    found = paradigm.losses(images, labels, progress=0.3)
    made: list[torch.Tensor] = []
    branch = paradigm.branches["student"]
    keep = branch.make_labels
    branch.make_labels = lambda *a: made.append(keep(*a)) or made[-1]  # type: ignore
    late = paradigm.losses(images, labels, progress=0.51)
    paradigm.losses(images, labels, progress=0.5)
    head = paradigm.segmenter.head
    features, inner = paradigm.student.encoder.with_taps(
        (images - paradigm.student.mean) / paradigm.student.std, paradigm.segmenter.taps
    )
    assert len(inner) + 1 == 2  # all layers
    fused = head.fused([*inner, features])
    flat = fused.flatten(2)
    between = torch.stack([(one.T @ one).sigmoid() for one in flat])
    torch.testing.assert_close(decoder_affinity(fused), between)
    logits = paradigm.segmenter(images)
    for total, target in ((late.total, made[0]), (found.total, made[1])):
        pairs = affinity_labels(target[:, ::4, ::4], 1)
        expected = balanced_segmentation_loss(logits, target) + 0.1 * affinity_loss(between, pairs)
        torch.testing.assert_close(total, expected)
    present = labels > 0
    chosen = text_class_maps(
        paradigm.student, images, present, paradigm.settings, decoder_affinity=between.detach()
    )
    assert torch.equal(made[0], LabelMaker(paradigm.settings)(images, chosen, present))


@pytest.mark.ci
def test_the_decoder_learns_and_clip_stays_as_it_is(weclip: Callable[..., SingleStage]) -> None:
    paradigm = weclip()
    before = {name: value.clone() for name, value in paradigm.student.state_dict().items()}
    pixels = (pictures(4).permute(0, 2, 3, 1) * 255).byte().numpy()
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], bool)
    settings = TrainingSettings(epochs=2, batch_size=2, learning_rate=0.01, rescale=(0.5, 2.0))
    head = {name: value.clone() for name, value in paradigm.segmenter.head.state_dict().items()}
    train(paradigm, pixels, labels, settings, seed=0)
    assert all(torch.equal(before[n], v) for n, v in paradigm.student.state_dict().items())
    after = paradigm.segmenter.head.state_dict()
    assert not any(torch.equal(head[n], v) for n, v in after.items() if n.endswith("weight"))
    names = {name for name, one in paradigm.named_parameters() if one.requires_grad}
    assert all(name.startswith("branches.student.head.") for name in names)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompts": {"smoke": ["a"], "steam": ["b"]}}, "prompts: the class 'fog' is missing"),
        ({"prompts": {"smokes": ["a"]}}, "prompts: 'smokes' is no class; nearest: 'smoke'"),
        ({"prompts": {"smoke": "a"}}, "expected a list of sentences for each class"),
        ({"prompt": "smoke"}, "a sentence with {} for the name"),
        ({"background_words": []}, "cams: text needs background_words"),
        ({"encoder": "trained"}, "cams: text needs encoder: frozen"),
        ({"losses": {"auxiliary": 1}}, "cams: text needs no loss ['auxiliary']"),
        ({"decoder": "large_fov"}, "affinity_of: decoder needs decoder: fused_layers"),
        ({"losses": {"segmentation": {"after": 0.1}, "affinity": None}}, "classification is 0"),
        ({"high_end": {"smoke": 0.6}}, "high_end: the class 'steam' is missing"),
    ],
)
def test_what_cannot_be_meant_is_said_in_a_line(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        recipe(**changed)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.ci
def test_another_encoder_than_clips_is_refused(
    cnn: Callable[..., Any], checkpoint: Callable[[str], Path]
) -> None:
    with pytest.raises(InputError, match="expected CLIP's image encoder"):
        prepare(cnn(classes=3), recipe())
    options = {**TINY, "embed_dim": 32}
    network = prepare(build_network(MODEL, classes=3, image_size=16, options=options), recipe())
    assert isinstance(network, TextNetwork)
    with pytest.raises(InputError, match="expected 32 of the backbone"):
        network.read_texts(checkpoint("clip"), {"smoke": ["smoke"]}, ["sky"])
