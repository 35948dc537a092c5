"""CLIP's weights for CAMs: by hand from embeddings, and through a tiny CLIP saved to disk."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from wsss_core.errors import InputError
from wsss_core.refine.foundation.clip_weights import (
    clip_similarity,
    embed_patches,
    embed_texts,
    similarity_weights,
    weight_cams,
)
from wsss_core.refine.foundation.models import load_foundation

pytest.importorskip("transformers")

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
PROMPTS = {"smoke": ["a plume of smoke", "grey smoke"], "steam": ["steam"]}
BACKGROUND = ["the sky", "a chimney", "trees"]


@pytest.fixture(scope="module")
def loaded(checkpoint):
    return load_foundation("clip", checkpoint("clip"))


def unit(*degrees: float) -> torch.Tensor:
    """Unit vectors of the plane by their angle."""
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


# From embeddings to weights


def test_softmax_weighs_the_class_against_each_background_sentence():
    """Angles of 0, 60 and 90 degrees: cosines 1, 1/2 and 0, at a scale of 2."""
    patches = unit(0, 60, 90)[None, None]  # a row of three
    weights = similarity_weights(patches, unit(0), unit(90, 60), rule="softmax", scale=2.0)
    half_root_3 = math.sqrt(3) / 2
    expected = [
        math.exp(2) / (math.exp(2) + math.exp(0) + math.exp(1)),
        math.exp(1) / (math.exp(1) + math.exp(2 * half_root_3) + math.exp(2)),
        math.exp(0) / (math.exp(0) + math.exp(2) + math.exp(2 * half_root_3)),
    ]
    assert weights.shape == (1, 1, 1, 3)
    np.testing.assert_allclose(weights.flatten(), expected, rtol=1e-5)


def test_another_class_changes_no_class_s_weights():
    patches = F.normalize(torch.randn(2, 3, 4, 8), dim=-1)
    classes, rest = (F.normalize(torch.randn(n, 8), dim=-1) for n in (2, 5))
    both = similarity_weights(patches, classes, rest, rule="softmax", scale=10.0)
    for k in range(2):
        alone = similarity_weights(patches, classes[k : k + 1], rest, rule="softmax", scale=10.0)
        torch.testing.assert_close(both[:, k : k + 1], alone)


def test_min_max_stretches_the_cosine_over_each_image_and_class():
    patches = torch.stack([unit(0, 60, 90)[None], unit(60, 60, 180)[None]])
    weights = similarity_weights(patches, unit(0, 90), unit(0)[:0], rule="min_max")
    root = math.sqrt(3) / 2
    expected = [
        [[1, 0.5, 0], [0, root, 1]],  # cosines 1, 1/2, 0 and sines 0, 0.87, 1
        [[1, 1, 0], [1, 1, 0]],  # cosines 1/2, 1/2, -1 and sines 0.87, 0.87, 0
    ]
    np.testing.assert_allclose(weights[:, :, 0], expected, atol=1e-6)


def test_a_constant_similarity_weighs_nothing():
    weights = similarity_weights(unit(30, 30)[None, None], unit(0), unit(0)[:0], rule="min_max")
    assert weights.flatten().tolist() == [1, 1]


def test_a_scale_of_100_does_not_overflow():
    weights = similarity_weights(
        unit(0, 180)[None, None], unit(0), unit(180), rule="softmax", scale=100.0
    )
    np.testing.assert_allclose(weights.flatten(), [1, 0], atol=1e-6)


# Through a CLIP on disk


def test_a_text_s_embedding_is_the_library_s_own(loaded):
    model, processor = loaded
    texts = [*BACKGROUND, "a much longer sentence than there are places for tokens"]
    inputs = processor(text=texts, padding=True, truncation=True, return_tensors="pt")
    pixels = processor.image_processor(IMAGES[:1], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = model(**inputs, pixel_values=pixels).text_embeds
        torch.testing.assert_close(embed_texts(model, processor, texts, "cpu"), expected)


def test_a_text_s_embedding_does_not_depend_on_the_texts_beside_it(loaded):
    model, processor = loaded
    with torch.no_grad():
        together = embed_texts(model, processor, BACKGROUND, "cpu")
        alone = [embed_texts(model, processor, [text], "cpu")[0] for text in BACKGROUND]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize("position", [0, 6, 15])
def test_a_patch_is_projected_as_the_library_projects_the_image_s_token(loaded, position):
    """With the patch's token put in the place of the image's, the image embeds as the patch."""
    model, processor = loaded

    def put_first(module, args, output):
        states = output.last_hidden_state
        output.last_hidden_state = torch.cat([states[:, position + 1 :][:, :1], states[:, 1:]], 1)

    text = processor(text=["smoke"], return_tensors="pt")
    pixels = processor.image_processor(list(IMAGES), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        patches = embed_patches(model, processor, IMAGES, "last", "cpu")
        hook = model.vision_model.encoder.register_forward_hook(put_first)
        expected = model(**text, pixel_values=pixels).image_embeds
        hook.remove()
    torch.testing.assert_close(patches[:, position // 4, position % 4], expected)


def test_values_are_the_last_layer_with_each_patch_alone(loaded):
    """A sequence of one token attends to itself: the library's layer, patch by patch."""
    model, processor = loaded
    vision = model.vision_model
    pixels = processor.image_processor(list(IMAGES), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        before = vision(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
        alone = [
            vision.encoder.layers[-1](before[:, i : i + 1], attention_mask=None)
            for i in range(1, 17)
        ]
        expected = F.normalize(
            model.visual_projection(vision.post_layernorm(torch.cat(alone, dim=1))), dim=-1
        )
        patches = embed_patches(model, processor, IMAGES, "value", "cpu")
        last = embed_patches(model, processor, IMAGES, "last", "cpu")
    torch.testing.assert_close(patches.flatten(1, 2), expected)
    assert (patches - last).abs().max() > 0.05


@pytest.mark.parametrize("tokens", ["last", "value"])
def test_similarity_is_that_of_class_means_and_single_background_sentences(loaded, tokens):
    model, processor = loaded
    weights = clip_similarity(model, processor, IMAGES, PROMPTS, BACKGROUND, tokens=tokens)
    assert weights.dtype == np.float32
    assert weights.shape == (3, 2, 4, 4)
    with torch.no_grad():
        patches = embed_patches(model, processor, IMAGES, tokens, "cpu").double().numpy()
        sentences = {
            name: embed_texts(model, processor, texts, "cpu").double().numpy()
            for name, texts in {**PROMPTS, "": BACKGROUND}.items()
        }
    scale = math.exp(1.0)  # the tiny model's logit_scale is 1
    for image, k, y, x in np.ndindex(weights.shape):
        mean = sentences[list(PROMPTS)[k]].mean(axis=0)
        own = math.exp(scale * float(patches[image, y, x] @ mean) / np.linalg.norm(mean))
        rivals = [math.exp(scale * float(patches[image, y, x] @ text)) for text in sentences[""]]
        assert weights[image, k, y, x] == pytest.approx(own / (own + sum(rivals)), abs=1e-5)
    assert np.ptp(weights) > 0.05


def test_the_thesis_s_rule_spans_each_map_and_needs_no_background(loaded):
    weights = clip_similarity(*loaded, IMAGES, PROMPTS, rule="min_max")
    assert (weights.min(axis=(2, 3)) == 0).all()
    assert (weights.max(axis=(2, 3)) == 1).all()


@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_batch_of_images_does_not_matter(loaded, batch_size):
    whole = clip_similarity(*loaded, IMAGES, PROMPTS, BACKGROUND)
    parts = clip_similarity(*loaded, IMAGES, PROMPTS, BACKGROUND, batch_size=batch_size)
    np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_no_image_has_no_weights_of_the_right_shape(loaded):
    assert clip_similarity(*loaded, IMAGES[:0], PROMPTS, BACKGROUND).shape == (0, 2, 4, 4)


def test_clip_sees_a_square_image_as_its_own_processor_prepares_it(loaded):
    model, processor = loaded
    large = np.random.default_rng(1).integers(0, 256, (1, 40, 40, 3), np.uint8)
    seen = pixels_seen(model, processor, large)
    expected = processor.image_processor(Image.fromarray(large[0]), return_tensors="pt")
    torch.testing.assert_close(seen, expected["pixel_values"])


def test_a_wide_image_is_squeezed_so_that_no_edge_is_cut_off(loaded):
    """Left quarter red, right quarter green: a centre crop of 16 of 64 columns shows neither."""
    wide = np.zeros((1, 16, 64, 3), np.uint8)
    wide[:, :, :16, 0] = 255
    wide[:, :, 48:, 1] = 255
    seen = pixels_seen(*loaded, wide)[0]
    red, green = seen[0].mean(dim=0), seen[1].mean(dim=0)
    assert red[:3].min() > red[5:].max()
    assert green[13:].min() > green[:11].max()


def pixels_seen(model, processor, images):
    seen = []
    hook = model.vision_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["pixel_values"]), with_kwargs=True
    )
    clip_similarity(model, processor, images, PROMPTS, BACKGROUND)
    hook.remove()
    return torch.cat(seen)


def test_images_may_be_memory_mapped_read_only(tmp_path, loaded):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = clip_similarity(*loaded, IMAGES, PROMPTS, BACKGROUND)
    np.testing.assert_array_equal(clip_similarity(*loaded, mapped, PROMPTS, BACKGROUND), expected)


# Weighting


def test_a_cam_is_multiplied_by_the_weights_at_its_own_grid():
    """Pixels are squares: of two columns, four show 1, 3/4, 1/4 and 0 of the first."""
    scores = torch.tensor([[[[0.5, 1.0, 1.0, 0.5]] * 2]])
    weights = weight_cams(scores, torch.tensor([[[[1.0, 0.0]]]]))
    assert weights.tolist() == [[[[0.5, 0.75, 0.25, 0.0]] * 2]]


def test_weights_of_one_leave_a_cam_as_it_is():
    scores = torch.rand(2, 3, 5, 7)
    assert torch.equal(weight_cams(scores, torch.ones(2, 3, 4, 4)), scores)
    assert weight_cams(scores.half(), torch.ones(2, 3, 4, 4)).dtype == torch.float32


# Bad input


@pytest.mark.parametrize("worst", [-0.5, float("nan")])
def test_negative_scores_are_refused_because_a_small_weight_would_raise_them(worst):
    scores = torch.full((1, 1, 2, 2), 0.5)
    scores[0, 0, 1, 0] = worst
    with pytest.raises(InputError, match=r"scores: expected no negative value .*got"):
        weight_cams(scores, torch.ones(1, 1, 2, 2))


def test_maps_of_other_images_or_classes_are_refused():
    with pytest.raises(InputError, match=r"got \[2, 1, 4, 4\] and \[1, 2, 4, 4\]"):
        weight_cams(torch.zeros(2, 1, 4, 4), torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"images": IMAGES[0]}, r"images: expected uint8 \[N, H, W, 3\], got uint8 \[16, 16, 3\]"),
        ({"images": IMAGES / 255}, r"images: .*got float64"),
        ({"prompts": {}}, r"prompts: expected at least one class"),
        ({"prompts": {"smoke": []}}, r"prompts of class 'smoke': expected a list of sentences"),
        ({"prompts": {"smoke": "smoke"}}, r"prompts of class 'smoke': expected a list"),
        ({"background": []}, r"background: expected a list of prompts"),
        ({"background": "sky"}, r"background: expected a list of prompts"),
        ({"rule": "softmin"}, r"rule 'softmin': expected one of softmax, min_max"),
        ({"tokens": "first"}, r"tokens 'first': expected one of last, value"),
    ],
)
def test_bad_input_is_named_before_the_model_is_asked(change, named):
    given = {"images": IMAGES, "prompts": PROMPTS, "background": BACKGROUND, **change}
    with pytest.raises(InputError, match=named):
        clip_similarity(None, None, **given)
