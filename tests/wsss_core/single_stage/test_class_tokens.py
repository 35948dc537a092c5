"""Tokens of classes within a ViT, their graph, and the losses on them, each by its definition."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.single_stage import (
    ClassTokens,
    SingleStage,
    TokenGraph,
    certain_evidence,
    recipe_of,
    token_identity,
    token_patch_cosines,
    uncertain_evidence,
)

RNG = np.random.default_rng(0)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_the_patches_do_not_see_the_tokens_of_classes(vit: Callable[..., Network]) -> None:
    encoder = vit(size=32, depth=3, classes=4).eval().encoder
    tokens = ClassTokens(encoder, 4)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        plain = encoder.with_taps(images, (0, 1))
        with tokens.within(encoder) as kept:
            final, taps = encoder.with_taps(images, (0, 1))
        torch.testing.assert_close(final, plain[0], atol=1e-5, rtol=1e-5)
        for one, other in zip(taps, plain[1], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        with tokens.within(encoder) as again:
            encoder(images)
        assert encoder(images).shape == final.shape  # without them again
    torch.testing.assert_close(kept[-1], again[-1])
    assert kept[-1].shape == (2, 4, 24)


def test_a_token_that_starts_as_the_class_token_ends_as_it_does(
    vit: Callable[..., Network],
) -> None:
    """The class token reads all others too; it alone reads what the classes' tokens read."""
    encoder = vit(size=16, depth=2).eval().encoder
    tokens, images = ClassTokens(encoder, 1), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        with tokens.within(encoder) as kept:
            encoder(images)
        # Of a single class the token's own key is in its softmax beside the class token's twin.
        whole = encoder.vit._pos_embed(encoder.vit.patch_embed(images))
        joined = torch.cat([whole[:, :1], whole], 1)
        for block in encoder.vit.blocks:
            mask = torch.ones(6, 6, dtype=torch.bool)
            mask[1:, :1] = False
            joined = block(joined, attn_mask=mask)
        expected = encoder.vit.norm(joined)[:, :1]
    torch.testing.assert_close(kept[-1], expected, atol=1e-5, rtol=1e-5)


def test_a_token_gathers_the_tails_of_its_nearest_entities_through_a_gate() -> None:
    torch.manual_seed(0)
    graph = TokenGraph(5, 2).double()
    given, patches = RNG.normal(size=(2, 4, 5)), RNG.normal(size=(2, 3, 5))
    found = graph(torch.from_numpy(given), torch.from_numpy(patches)).detach().numpy()
    layers = {n: v.detach().numpy() for n, v in graph.named_parameters()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return layers[f"{name}.weight"] @ x + layers[f"{name}.bias"]

    for image, i in itertools.product(range(2), range(4)):
        token = given[image, i]
        tails = [linear("tail", one) for one in (*given[image], *patches[image])]
        products = np.array([linear("head", token) @ tail for tail in tails]) / np.sqrt(5)
        best = np.argsort(products)[-2:]
        weights = np.exp(products[best]) / np.exp(products[best]).sum()
        message = sum(w * tails[j] for w, j in zip(weights, best, strict=True))
        gate = 1 / (1 + np.exp(-linear("gate", np.concatenate([token, message]))))
        mixed = token + gate * message
        normal = (mixed - mixed.mean()) / np.sqrt(mixed.var() + 1e-5)
        expected = normal * layers["norm.weight"] + layers["norm.bias"]
        np.testing.assert_allclose(found[image, i], expected, rtol=1e-10)


def test_patches_get_no_gradient_from_the_graph() -> None:
    graph = TokenGraph(4, 1)
    tokens, patches = (
        torch.rand(1, 2, 4, requires_grad=True),
        torch.rand(1, 3, 4, requires_grad=True),
    )
    graph(tokens, patches).sum().backward()
    assert tokens.grad is not None
    assert patches.grad is None


def test_identity_is_the_cross_entropy_of_cosines_over_a_temperature() -> None:
    given = RNG.normal(size=(2, 3, 4))
    expected = []
    for tokens in unit(given):
        for i in range(3):
            likely = np.exp(tokens @ tokens[i] / 0.07)
            expected.append(-np.log(likely[i] / likely.sum()))
    found = torch.from_numpy(given).requires_grad_()
    assert token_identity(found).item() == pytest.approx(np.mean(expected))
    assert torch.autograd.gradcheck(token_identity, found)
    assert token_identity(torch.rand(2, 1, 4)).item() == 0


TOKENS, PATCHES = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 4, 2, 3))
LABELS = torch.tensor([[1, 1, 0, 255, 2, 255], [255, 3, 255, 255, 0, 0]])
COUNTED = torch.tensor([[True] * 6, [True, True, True, False, True, True]])
PRESENT = torch.tensor([[True, True, False], [False, False, True]])


def cosines_by_hand() -> np.ndarray:
    flat = unit(PATCHES.reshape(2, 4, 6).transpose(0, 2, 1))
    return np.einsum("bkc,blc->bkl", unit(TOKENS), flat) / 0.5


def test_certain_evidence_is_each_tokens_surprise_at_its_own_patches() -> None:
    cosines, each = cosines_by_hand(), []
    for image, k in itertools.product(range(2), range(3)):
        there = [j for j in range(6) if COUNTED[image, j]]
        own = [j for j in there if LABELS[image, j] == k + 1]
        total = sum(np.exp(cosines[image, k, j]) for j in there)
        if own:
            each.append(np.mean([-np.log(np.exp(cosines[image, k, j]) / total) for j in own]))
    assert len(each) == 3

    def loss(tokens: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        return certain_evidence(token_patch_cosines(tokens, patches), LABELS, COUNTED)

    given = [torch.from_numpy(one).requires_grad_() for one in (TOKENS, PATCHES)]
    assert loss(*given).item() == pytest.approx(np.mean(each))
    assert torch.autograd.gradcheck(loss, given)
    nothing = certain_evidence(torch.rand(1, 1, 2), torch.tensor([[0, 255]]), torch.ones(1, 2) > 0)
    assert nothing.item() == 0


def test_uncertain_evidence_pulls_unknown_patches_to_the_classes_that_are_there() -> None:
    cosines, each = cosines_by_hand(), []
    for image, j in itertools.product(range(2), range(6)):
        if LABELS[image, j] == 255 and COUNTED[image, j]:
            likely = np.exp(cosines[image, :, j])
            each.append(-np.log(likely[PRESENT[image].numpy()].sum() / likely.sum()))
    assert len(each) == 4

    def loss(tokens: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        cosines = token_patch_cosines(tokens, patches)
        return uncertain_evidence(cosines, LABELS, PRESENT, COUNTED)

    given = [torch.from_numpy(one).requires_grad_() for one in (TOKENS, PATCHES)]
    assert loss(*given).item() == pytest.approx(np.mean(each))
    assert torch.autograd.gradcheck(loss, given)
    empty = torch.zeros(2, 3, dtype=torch.bool)
    tokens = torch.rand(2, 3, 6, requires_grad=True)
    nothing = uncertain_evidence(tokens, LABELS, empty, COUNTED)
    nothing.backward()
    assert nothing.item() == 0
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()


@pytest.fixture
def more(plain_stage: Callable[..., SingleStage]) -> Callable[..., SingleStage]:
    losses = {"auxiliary": 1, "class_tokens": 1, "certain_evidence": 0.2}
    losses = {**losses, "uncertain_evidence": 0.1, "segmentation": None}
    return lambda **changes: plain_stage(**{"losses": losses, **changes})


def test_the_losses_of_tokens_are_added_by_their_weights_and_learn(
    more: Callable[..., SingleStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    paradigm = more().eval()
    torch.manual_seed(1)
    images, labels = torch.rand(3, 3, 32, 32), torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    valid = torch.ones(3, 1, 32, 32)
    valid[0, :, :, 24:] = 0
    kept: dict[str, Any] = {}
    branch = paradigm.branches["student"]
    make = branch.labels

    def labels_of(*given: Any) -> Any:
        kept["seen"], kept["made"] = given[-1], make(*given)
        return kept["made"]

    monkeypatch.setattr(branch, "labels", labels_of)
    found = paradigm.losses(images, labels, 0.5, valid)
    seen, made = kept["seen"], kept["made"]
    features = seen.output.features
    tokens = branch.class_tokens.graph(seen.of_classes, features.flatten(2).transpose(1, 2))
    cosines, evidence = token_patch_cosines(tokens, features), made.evidence.flatten(1)
    counted = valid[:, 0, ::8, ::8].flatten(1) > 0
    assert (made.evidence[0, :, 3] == 255).all()
    expected = (
        found.classification
        + token_identity(tokens)
        + 0.2 * certain_evidence(cosines, evidence, counted)
        + 0.1 * uncertain_evidence(cosines, evidence, labels > 0, counted)
    )
    torch.testing.assert_close(found.total, expected)
    found.total.backward()
    names = {n for n, p in paradigm.named_parameters() if p.grad is not None and p.grad.any()}
    assert {
        "branches.student.class_tokens.tokens",
        "branches.student.class_tokens.graph.head.weight",
        "branches.student.class_tokens.graph.gate.weight",
        "branches.student.network.encoder.vit.patch_embed.proj.weight",
    } <= names
    assert set(paradigm.parts) == {"decoder", "auxiliary", "class_tokens"}


def test_what_is_certain_is_said_by_the_auxiliary_cam_first_and_by_the_last_later(
    more: Callable[..., SingleStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsss_core.single_stage import MapsOnTheFly, branch, cut_maps

    paradigm = more().eval()
    last, auxiliary = torch.rand(2, 2, 32, 32), torch.rand(2, 2, 32, 32)
    found = MapsOnTheFly(last, None, (4, 4), auxiliary)
    monkeypatch.setattr(branch, "maps_on_the_fly", lambda *_, **__: found)
    kept: list[Any] = []
    make = paradigm.branches["student"].labels
    monkeypatch.setattr(
        paradigm.branches["student"], "labels", lambda *a: kept.append(make(*a)) or kept[-1]
    )
    images, labels = torch.rand(2, 3, 32, 32), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    for step in (10_000, 10_001):
        paradigm.losses(images, labels, step / 20_000)
    present = labels > 0
    early, late = (made.evidence for made in kept)
    assert torch.equal(early, cut_maps(auxiliary, present, 0.5, 0.25)[:, ::8, ::8])
    assert torch.equal(late, cut_maps(last, present, 0.6, 0.35)[:, ::8, ::8])


def test_tokens_of_classes_need_a_plain_vit_and_evidence_the_auxiliary_cam(
    cnn: Callable[..., Network],
) -> None:
    with pytest.raises(InputError, match="plain ViT with a class token"):
        ClassTokens(cnn().encoder, 2)
    with pytest.raises(InputError, match="certain_evidence needs the loss 'auxiliary'"):
        recipe_of({"name": "plain", "losses": {"certain_evidence": 0.2}})
