"""Saliency against loops over pixels, its maps by name, and models that a test makes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from wsss_core.errors import InputError
from wsss_core.refine.crf.dense_crf import dense_crf
from wsss_core.refine.saliency.combining import (
    SALIENCY_USES,
    SaliencyThresholds,
    combine_saliency,
    saliency_unary,
)
from wsss_core.refine.saliency.frequency_tuned import frequency_tuned, lab_colours
from wsss_core.refine.saliency.map_folder import check_maps, maps_digest, read_maps
from wsss_core.refine.saliency.models import load_detector, saliency_files
from wsss_core.refine.steps.registry import check_step, make_refiner

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (3, 10, 8, 3)).astype(np.uint8)
SCORES = RANDOM.random((2, 6, 5)).astype(np.float32)
ONES, ZEROS = np.ones((1, 6, 5), np.float32), np.zeros((1, 6, 5), np.float32)
unit = arrays(np.float32, (2, 3, 4), elements=st.floats(0, 1, width=32))


def by_hand(use: str, s: float, a: float) -> float:
    """What a use makes of one score and one saliency, in doubles."""
    if use == "guide":
        return s * a
    if use == "harmonic_mean":
        return 0.0 if s + a == 0 else 2 / (1 / s + 1 / a) if s > 0 and a > 0 else 0.0
    background = (0.25 if a >= 0.5 else 0.7) if use == "two_thresholds" else 1 - a
    return s / (s + background) if s + background > 0 else 0.0


@settings(max_examples=50, deadline=None)
@given(unit, arrays(np.float32, (1, 3, 4), elements=st.floats(0, 1, width=32)))
@pytest.mark.parametrize("use", SALIENCY_USES)
def test_each_use_is_its_formula_pixel_by_pixel(use, scores, saliency):
    found = combine_saliency(use, scores, saliency)
    for index in np.ndindex(scores.shape):
        s, a = float(scores[index]), float(saliency[(0, *index[1:])])
        assert found[index] == pytest.approx(by_hand(use, s, a), abs=1e-5)


def test_a_map_of_ones_leaves_guided_scores_and_a_map_of_zeros_leaves_none():
    assert np.array_equal(combine_saliency("guide", SCORES, ONES), SCORES)
    for use in ("guide", "harmonic_mean"):
        assert not combine_saliency(use, SCORES, ZEROS).any()
    # Where everything is salient nothing is background, and where nothing is no class beats it.
    assert (combine_saliency("background", SCORES, ONES) == 1).all()
    assert (combine_saliency("background", SCORES, ZEROS) <= 0.5).all()


def test_of_two_thresholds_the_lower_holds_where_all_is_salient_and_the_higher_where_nothing_is():
    how = SaliencyThresholds(low=0.3, high=0.6)
    for saliency, threshold in ((ONES, 0.3), (ZEROS, 0.6)):
        found = combine_saliency("two_thresholds", SCORES, saliency, how)
        assert np.array_equal(found > 0.5, threshold < SCORES)


def test_the_unary_of_a_crf_is_background_from_saliency_and_sums_to_one():
    saliency = RANDOM.random((1, 6, 5)).astype(np.float32)
    found = saliency_unary(SCORES, saliency)
    whole = np.concatenate([1 - saliency.astype(float), SCORES.astype(float)])
    np.testing.assert_allclose(found, whole / whole.sum(0), atol=1e-6)
    np.testing.assert_array_equal(saliency_unary(0 * SCORES, ONES), np.float32(1 / 3))


def test_frequency_tuned_saliency_is_the_distance_of_a_blurred_colour_from_the_mean():
    image = IMAGES[0]
    lab = lab_colours(image)
    kernel = [1, 4, 6, 4, 1]
    mean = lab.reshape(-1, 3).mean(0)
    expected = np.zeros((10, 8))
    for y in range(10):
        for x in range(8):
            blurred = np.zeros(3)
            for dy in range(-2, 3):
                for dx in range(-2, 3):
                    near = lab[min(max(y + dy, 0), 9), min(max(x + dx, 0), 7)]
                    blurred += kernel[dy + 2] * kernel[dx + 2] / 256 * near
            expected[y, x] = math.dist(blurred, mean)
    np.testing.assert_allclose(frequency_tuned(image), expected / expected.max(), atol=1e-6)


@pytest.mark.parametrize(
    ("colour", "lab"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((119, 119, 119), (50.03, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_colours_are_those_that_tables_of_srgb_under_d65_give(colour, lab):
    found = lab_colours(np.array([[colour]], np.uint8))[0, 0]
    np.testing.assert_allclose(found, lab, atol=0.02)


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_nothing_is_salient_in_a_flat_image(grey):
    assert not frequency_tuned(np.full((6, 6, 3), grey, np.uint8)).any()


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(["test/images/a", "tune/images/a", "b"]):
        file = tmp_path / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 8), 60 * (number + 1), np.uint8)).save(file)
    return tmp_path


NAMED = [("test/images/a.jpg", (10, 8)), ("tune/images/a.jpg", None), ("test/images/b.jpg", None)]


def test_maps_are_found_by_the_longest_name_that_is_there(folder):
    check_maps(folder, NAMED)
    maps = read_maps(folder, [name for name, _ in NAMED], (5, 4))
    np.testing.assert_allclose(maps.reshape(3, -1).T, [[60 / 255, 120 / 255, 180 / 255]] * 20)
    before = maps_digest(folder)
    Image.fromarray(np.zeros((10, 8), np.uint8)).save(folder / "b.png", compress_level=0)
    assert maps_digest(folder) != before


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([("test/images/c.jpg", None)], "no map of image test/images/c.jpg; expected test/images/"),
        ([("test/images/a.jpg", (8, 10))], "is 8 x 10 px; expected the size of its image"),
        ([("test/x/b.jpg", None), ("tune/x/b.jpg", None)], "is the map of test/x/b.jpg and of tu"),
    ],
)
def test_a_map_that_is_missing_of_another_size_or_of_two_images_is_named(folder, images, said):
    with pytest.raises(InputError) as error:
        check_maps(folder, images)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_coloured_map_an_empty_folder_and_two_of_one_name_are_refused(folder, tmp_path):
    Image.fromarray(IMAGES[0]).save(folder / "c.png")
    with pytest.raises(InputError, match="mode RGB; expected a grey one"):
        check_maps(folder, [("c.jpg", None)])
    Image.fromarray(IMAGES[0]).save(folder / "c.jpg")
    with pytest.raises(InputError, match="have one name"):
        check_step("saliency", {"maps": str(folder)})
    with pytest.raises(InputError, match="is no folder"):
        check_step("saliency", {"maps": str(folder / "nowhere")})
    with pytest.raises(InputError, match="expected one of them"):
        check_step("saliency", {"maps": str(folder), "model": "x.onnx"})


@pytest.mark.parametrize("use", ["guide", "crf"])
def test_the_step_reads_its_maps_by_name_and_refuses_maps_that_changed(folder, tmp_path, use):
    names = [name for name, _ in NAMED]
    given = {"maps": str(folder), "how": use, "preset": "psa"}
    step = make_refiner("saliency", given, [maps_digest(folder)])
    kept = folder / "kept"
    kept.mkdir()
    step.compute_image_features(IMAGES, ("smoke",), kept, names=names)
    scores = RANDOM.random((3, 1, 10, 8)).astype(np.float32)
    found = step(IMAGES, scores, image_features=kept)
    saliency = np.array([60, 120, 180], np.float32) / np.float32(255)
    saliency = saliency.astype(np.float16).astype(np.float32)
    for image, score, a, refined in zip(IMAGES, scores, saliency, found, strict=True):
        if use == "guide":
            np.testing.assert_allclose(refined, score * a, atol=1e-6)
        else:
            unary = np.concatenate([np.full_like(score, 1 - a), score])
            expected = dense_crf(image, unary / unary.sum(0), preset="psa")[1:]
            np.testing.assert_allclose(refined, np.asarray(expected), atol=1e-4)
    Image.fromarray(np.zeros((10, 8), np.uint8)).save(folder / "b.png", compress_level=0)
    with pytest.raises(InputError, match="changed since the plan"):
        step.compute_image_features(IMAGES, ("smoke",), kept, names=names)


def onnx_file(tmp_path, low):
    """Saliency of a model that keeps the first channel, clipped from a lower bound to 1."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    constants = [
        helper.make_tensor(name, number, [1], [value])
        for name, number, value in (
            ("zero", onnx.TensorProto.INT64, 0), ("one", onnx.TensorProto.INT64, 1),
            ("axis", onnx.TensorProto.INT64, 1),
        )
    ]  # fmt: skip
    for name, value in (("low", low), ("high", 1.0)):
        constants.append(helper.make_tensor(name, kind, [], [value]))
    nodes = [
        helper.make_node("Slice", ["x", "zero", "one", "axis"], ["first"]),
        helper.make_node("Clip", ["first", "low", "high"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(n, kind, [1, c, 5, 4]) for n, c in (("x", 3), ("y", 1))]
    graph = helper.make_graph(nodes, "saliency", values[:1], values[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.save(model, tmp_path / "saliency.onnx")
    return tmp_path / "saliency.onnx"


@pytest.mark.ci
def test_an_onnx_file_sees_normalised_images_at_its_own_size(tmp_path):
    detect = load_detector(onnx_file(tmp_path, 0.0))
    expected = []
    for image in IMAGES:
        resized = np.asarray(Image.fromarray(image).resize((4, 5), Image.Resampling.BILINEAR))
        expected.append(((resized[..., 0] / 255 - 0.485) / 0.229).clip(0, 1))
    np.testing.assert_allclose(detect(IMAGES), expected, atol=1e-5)
    with pytest.raises(InputError, match="expected \\[n, 1, h, w\\] of 0 to 1"):
        load_detector(onnx_file(tmp_path, -9.0))(IMAGES)


@pytest.mark.ci
@pytest.mark.parametrize("labels", [1, 2, 3])
def test_a_model_of_transformers_is_asked_for_its_salient_label(tmp_path, labels):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 8],
        patch_sizes=[3, 3], strides=[2, 2], num_attention_heads=[1, 1], mlp_ratios=[2, 2],
        decoder_hidden_size=8, num_labels=labels,
    )  # fmt: skip
    model = transformers.SegformerForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    size = {"height": 16, "width": 16}
    transformers.SegformerImageProcessor(size=size).save_pretrained(tmp_path)
    if labels == 3:
        with pytest.raises(InputError, match="has 3 labels; expected one"):
            saliency_files(tmp_path)
        return
    found = load_detector(tmp_path)(IMAGES)
    pixels = []
    for image in IMAGES:
        resized = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR))
        pixels.append((resized / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    given = torch.tensor(np.stack(pixels), dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(pixel_values=given).logits
    salient = logits[:, 0].sigmoid() if labels == 1 else logits.softmax(1)[:, 1]
    np.testing.assert_allclose(found, salient.numpy(), atol=5e-3)
