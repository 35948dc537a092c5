"""Named losses of ToCo and DuPL, and two networks in one stage, each against its definition."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from wsss_core.backbones import Network
from wsss_core.errors import InputError
from wsss_core.segmentation import SegmenterSettings
from wsss_core.single_stage import (
    SingleStage,
    build_single_stage,
    cut_maps,
    discrepancy,
    fit_two_gaussians,
    prepare,
    recipe_of,
    token_contrast,
    without_doubted,
)
from wsss_core.training.micro_batches import batch_gradients
from wsss_core.transfer import Alignment, CoTraining


def test_token_contrast_is_that_of_a_loop_over_pairs() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2, 3, 2, 3))
    labels = np.array([[[0, 0, 1], [1, 255, 2]], [[2, 2, 2], [255, 0, 0]]])
    one, two = [], []
    for image, (i, j) in itertools.product(range(2), itertools.product(range(6), repeat=2)):
        a, b = (tokens[image].reshape(3, 6)[:, k] for k in (i, j))
        first, second = labels[image].flat[i], labels[image].flat[j]
        if i == j or 255 in (first, second):
            continue
        cosine = abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)
        (one if first == second else two).append(cosine)
    expected = (1 - sum(one) / (len(one) + 1)) / 2 + sum(two) / (len(two) + 1) / 2
    found = token_contrast(torch.from_numpy(tokens), torch.from_numpy(labels))
    assert float(found) == pytest.approx(expected)


def test_maps_are_cut_by_two_thresholds_and_the_image_labels() -> None:
    maps = torch.tensor([[[[0.9, 0.5, 0.2]], [[0.95, 0.1, 0.1]]]])
    assert cut_maps(maps, torch.tensor([[True, True]]), 0.7, 0.25).tolist() == [[[2, 255, 0]]]
    assert cut_maps(maps, torch.tensor([[True, False]]), 0.7, 0.25).tolist() == [[[1, 255, 0]]]


def test_discrepancy_is_one_and_the_cosine_of_channels_for_each_side() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 2, 3, 2, 2))
    cosines = [
        (a.ravel() @ b.ravel()) / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(one.reshape(6, 4), other.reshape(6, 4), strict=True)
    ]
    first, second = (torch.from_numpy(x).requires_grad_() for x in (one, other))
    found = discrepancy(first, second)
    assert found.item() == pytest.approx(2 * (1 + np.mean(cosines)), rel=1e-5)
    found.backward()
    assert first.grad is not None
    assert second.grad is not None
    assert discrepancy(first, -first).item() == pytest.approx(0, abs=1e-6)
    with pytest.raises(InputError, match="one architecture"):
        discrepancy(first, second[:, :2])


def test_the_mixture_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0.5, 0.2, 300), rng.normal(3.0, 0.5, 200)])
    found = fit_two_gaussians(torch.from_numpy(values))
    theirs = GaussianMixture(2, reg_covar=5e-4, random_state=0).fit(values[:, None])
    order = theirs.means_.ravel().argsort()
    np.testing.assert_allclose(found.means, theirs.means_.ravel()[order], rtol=1e-3)
    np.testing.assert_allclose(found.variances, theirs.covariances_.ravel()[order], rtol=1e-2)
    higher = theirs.predict_proba(values[:, None])[:, order[1]]
    np.testing.assert_allclose(found.of_higher(torch.from_numpy(values)), higher, atol=0.01)


def test_pixels_that_the_decoder_doubts_lose_their_label_and_no_others() -> None:
    labels = torch.ones(2, 4, 10, dtype=torch.long)
    labels[:, 3] = 0
    logits = torch.zeros(2, 2, 4, 10)
    logits[:, 1] = 1 + 0.01 * torch.arange(40).reshape(4, 10)  # losses of about 0.3
    logits[:, 1, 0] = -5 - 0.01 * torch.arange(10)  # the first row's are above 5
    found = without_doubted(logits, labels, 20)
    assert (found[:, 0] == 255).all()
    assert torch.equal(found[:, 1:], labels[:, 1:])
    assert torch.equal(without_doubted(logits, labels, 30), labels)  # too few pixels
    logits[:, 1, 0] = 0.9  # means less than 1 apart
    assert torch.equal(without_doubted(logits, labels, 20), labels)


@pytest.fixture
def pair(cnn: Callable[..., Network], vit: Callable[..., Network]) -> Callable[..., SingleStage]:
    """Two ViTs, or with `mixed` a ViT and a CNN, aligned by their activation maps."""

    def build(
        *,
        mixed: bool = False,
        recipe: str = "plain",
        align: dict[str, Any] | None = None,
        **changes: Any,
    ) -> SingleStage:
        options = {"width": 8}
        given = {"name": recipe, "decoder_options": options, "refiner": "none", **changes}
        _, settings = recipe_of(given)
        second = cnn(classes=2, size=32) if mixed else vit(seed=1, classes=2, size=32, depth=4)
        networks = {"student": vit(classes=2, size=32, depth=4), "teacher": second}
        alignment = None
        if mixed:
            by_default = {"metric": "cosine", "representation": "activation_map"}
            alignment = Alignment(networks["student"], networks["teacher"], **(align or by_default))
        for network in networks.values():
            prepare(network, settings)
        models = {"student": "vit_tiny_patch16_224", "teacher": "resnet18"}
        segmenters = {
            role: SegmenterSettings(settings.decoder, models[role], options=options)
            for role in networks
        }
        return build_single_stage(
            networks, settings, segmenters, image_size=32, alignment=alignment, transfer_weight=2.0
        )

    return build


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(3, 3, 32, 32), torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])


def gradients(paradigm: SingleStage) -> set[str]:
    return {n for n, p in paradigm.named_parameters() if p.grad is not None and p.grad.any()}


def test_crossed_decoders_learn_each_others_labels(
    pair: Callable[..., SingleStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    paradigm = pair(supervision="crossed", losses={"discrepancy": 0.1}).eval()
    images, labels = batch()
    targets: dict[str, torch.Tensor] = {}
    made: dict[str, torch.Tensor] = {}
    for role, branch in paradigm.branches.items():

        def losses(seen: Any, own: Any, target: Any, *rest: Any, role: str = role) -> Any:
            made[role], targets[role] = own.for_decoder, target
            return torch.zeros(())

        monkeypatch.setattr(branch, "losses", losses)
    found = paradigm.losses(images, labels)
    assert torch.equal(targets["student"], made["teacher"])
    assert torch.equal(targets["teacher"], made["student"])
    one, other = (paradigm.networks[role](images).features for role in ("student", "teacher"))
    expected = found.classification + 0.1 * discrepancy(one, other)
    torch.testing.assert_close(found.total, expected)


def test_a_cnn_and_a_vit_learn_in_one_stage_with_two_decoders_or_one(
    pair: Callable[..., SingleStage],
) -> None:
    images, labels = batch()
    for decoders in ("both", "student"):
        paradigm = pair(mixed=True, decoders=decoders)
        found = paradigm.losses(images, labels)
        assert found.transfer is not None
        found.total.backward()
        moved = gradients(paradigm)
        assert "branches.student.head.classifier.weight" in moved
        assert ("branches.teacher.head.classifier.weight" in moved) == (decoders == "both")
        assert "branches.teacher.network.encoder.extractor.conv1.weight" in moved
        assert set(paradigm.parts) == (
            {"decoder", "teacher_decoder"} if decoders == "both" else {"decoder"}
        )
    early = paradigm.losses(images, labels, progress=0.05)
    assert early.transfer is not None
    torch.testing.assert_close(early.total, early.classification + 2 * early.transfer)


def test_a_cnn_beside_a_vit_learns_no_affinity(pair: Callable[..., SingleStage]) -> None:
    paradigm = pair(mixed=True, recipe="afa", affinity_radius=1)
    assert set(paradigm.parts) == {"decoder", "affinity", "teacher_decoder"}
    paradigm.losses(*batch()).total.backward()
    assert "branches.student.affinity.join.weight" in gradients(paradigm)


def test_token_contrast_comes_of_the_inner_classifier(pair: Callable[..., SingleStage]) -> None:
    paradigm = pair(losses={"auxiliary": 1.0, "token_contrast": 0.2, "segmentation": None})
    assert set(paradigm.parts) == {
        "decoder",
        "auxiliary",
        "teacher_decoder",
        "teacher_auxiliary",
    }
    paradigm.losses(*batch()).total.backward()
    moved = gradients(paradigm)
    assert "branches.student.auxiliary.head.weight" in moved
    assert "branches.student.head.classifier.weight" not in moved


def test_what_is_between_two_networks_needs_two(vit: Callable[..., Network]) -> None:
    for changes in ({"supervision": "crossed"}, {"losses": {"discrepancy": 0.1}}):
        _, settings = recipe_of({"name": "plain", **changes})
        network = prepare(vit(size=32), settings)
        segmenter = {"student": SegmenterSettings("large_fov", "vit_tiny_patch16_224")}
        with pytest.raises(InputError, match="expected a teacher too"):
            build_single_stage({"student": network}, settings, segmenter, image_size=32)


LOSSES_OF_MORE_THAN_FINAL_MAPS = {
    "ofa": {"metric": "ofa", "representation": "logits"},
    "inner layers": {"metric": "at", "layers": [{"student": 1, "teacher": "layer3"}]},
    "attention": {
        "metric": "l2",
        "representation": "attention",
        "layers": [{"student": 2, "teacher": "layer4"}],
    },
}


@pytest.mark.parametrize("align", LOSSES_OF_MORE_THAN_FINAL_MAPS)
def test_an_alignment_sees_in_one_stage_what_it_sees_in_co_training(
    pair: Callable[..., SingleStage], align: str
) -> None:
    """Labels, inner layers and attention, with decoder and auxiliary taps in force beside them."""
    paradigm = pair(
        mixed=True,
        align=LOSSES_OF_MORE_THAN_FINAL_MAPS[align],
        recipe="afa",
        affinity_radius=1,
        losses={"segmentation": {"after": 0}, "affinity": {"after": 0}, "auxiliary": 1.0},
    ).eval()
    images, labels = batch()
    found = paradigm.losses(images, labels, progress=0.5)
    assert paradigm.alignment is not None
    student, teacher = (paradigm.networks[role] for role in ("student", "teacher"))
    expected = CoTraining(student, teacher, paradigm.alignment, 2.0).eval().losses(images, labels)
    assert found.transfer is not None
    assert expected.transfer is not None
    assert expected.transfer > 0
    torch.testing.assert_close(found.transfer, expected.transfer)


@pytest.mark.ci
def test_a_batch_that_does_not_fit_gives_the_gradient_of_its_parts_added_up(
    pair: Callable[..., SingleStage],
) -> None:
    """All losses of two networks are in force; a first attempt breaks off late."""
    images, labels = torch.rand(7, 3, 32, 32), (torch.rand(7, 2) > 0.5).float()
    losses = {"segmentation": {"after": 0}, "auxiliary": 1.0, "token_contrast": 0.2}
    changes: dict[str, Any] = {
        "mixed": True,
        "recipe": "afa",
        "affinity_radius": 1,
        "supervision": "crossed",
        "losses": {**losses, "affinity": {"after": 0}},
    }
    halved, by_hand = pair(**changes).train(), pair(**changes).train()
    shown: list[int] = []

    def of_part(part: np.ndarray) -> Any:
        torch.manual_seed(len(shown))  # of dropout
        shown.append(len(part))
        found = halved.losses(images[part], labels[part], 0.5)
        if len(part) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return found

    made = batch_gradients(halved, of_part, np.arange(7), None, device="cpu", what="this")
    assert (made.micro_batch, shown) == (2, [7, 4, 2, 2, 2, 1])
    for number, part in enumerate(np.array_split(np.arange(7), 4)):
        torch.manual_seed(2 + number)
        mean = by_hand.losses(images[part], labels[part], 0.5).total * (len(part) / 7)
        mean.backward()
    assert gradients(halved) == gradients(by_hand) != set()
    for (name, one), other in zip(halved.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    state = by_hand.state_dict()
    for name, value in halved.state_dict().items():
        assert torch.equal(value, state[name]), name
