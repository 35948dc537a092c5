"""transfer_loss against the definitions written out as loops, and its gradient."""

import itertools
import math

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.transfer import METRICS, TRANSFER_LEVELS, VARIANTS, transfer_loss

EVERY_LOSS = list(itertools.product(METRICS, TRANSFER_LEVELS, VARIANTS))


def vectors(maps: np.ndarray, level: str) -> list[list[float]]:
    """The vectors that a level compares, of every image."""
    batch, channels, height, width = maps.shape
    found = []
    for b in range(batch):
        if level == "global":
            found.append([float(value) for value in maps[b].ravel()])
        elif level == "channel":
            found += [[float(value) for value in maps[b, c].ravel()] for c in range(channels)]
        else:
            found += [
                [float(maps[b, c, y, x]) for c in range(channels)]
                for y in range(height)
                for x in range(width)
            ]
    return found


def cosine(a: list[float], b: list[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a)) / math.sqrt(math.fsum(y * y for y in b))


def bernoulli_kl(student: float, teacher: float, temperature: float = 1.0) -> float:
    """T^2 KL between the two outcomes of a label, from the probabilities themselves."""
    p, q = (1 / (1 + math.exp(-float(x) / temperature)) for x in (student, teacher))
    return temperature**2 * (q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p)))


def defined_loss(s: np.ndarray, t: np.ndarray, metric: str, level: str, variant: str) -> float:
    """The table of the loss's docstring in float64, one vector at a time."""
    if (metric, level, variant) == ("cosine", "channel", "thesis"):
        pairs = [
            1 - cosine(list(map(float, s[b, i].ravel())), list(map(float, t[b, j].ravel())))
            for b in range(len(s))
            for i in range(s.shape[1])
            for j in range(t.shape[1])
        ]
        return math.fsum(pairs) / len(pairs)
    if metric == "kl":
        return math.fsum(map(bernoulli_kl, s.ravel(), t.ravel())) / s.size
    each = []
    for a, b in zip(vectors(s, level), vectors(t, level), strict=True):
        difference = [x - y for x, y in zip(a, b, strict=True)]
        if metric == "cosine":
            each.append(1 - cosine(a, b))
        elif metric == "l1":
            total = math.fsum(map(abs, difference))
            each.append(
                total if variant == "thesis" and level != "global" else total / len(difference)
            )
        else:
            squares = math.fsum(d * d for d in difference)
            if variant == "thesis":
                each.append(math.sqrt(squares))
            elif level == "global":
                each.append(squares / len(difference))
            else:
                each.append(math.sqrt(squares) / math.sqrt(len(difference)))
    return math.fsum(each) / len(each)


def pair(seed: int, *shape: int, teacher: tuple[int, ...] | None = None) -> list[torch.Tensor]:
    random = np.random.default_rng(seed)
    return [torch.from_numpy(random.normal(size=s)) for s in (shape, teacher or shape)]


@pytest.mark.parametrize(("metric", "level", "variant"), EVERY_LOSS)
@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (1, 1, 3, 3), (2, 6, 1, 1)])
def test_the_loss_is_what_its_definition_says(metric, level, variant, shape):
    student, teacher = pair(len(shape) + shape[1], *shape)
    loss = transfer_loss(student, teacher, metric=metric, level=level, variant=variant)
    expected = defined_loss(student.numpy(), teacher.numpy(), metric, level, variant)
    assert loss.item() == pytest.approx(expected, abs=1e-6, rel=1e-6)
    assert loss.shape == ()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_is_that_of_softened_probabilities_times_the_square_of_the_temperature(temperature):
    student, teacher = pair(9, 5, 3, 1, 1)
    loss = transfer_loss(student, teacher, metric="kl", level="global", temperature=temperature)
    each = [
        bernoulli_kl(float(s), float(t), temperature)
        for s, t in zip(student.ravel(), teacher.ravel(), strict=True)
    ]
    assert loss.item() == pytest.approx(math.fsum(each) / 15, abs=1e-9)


def test_kl_of_confident_logits_stays_finite_with_its_gradient():
    student = torch.tensor([[[[-200.0]], [[200.0]]]], requires_grad=True)
    loss = transfer_loss(student, -student.detach(), metric="kl", level="global")
    loss.backward()
    assert loss.item() == pytest.approx(200.0)
    assert student.grad is not None
    assert student.grad.isfinite().all()


def test_a_temperature_that_is_not_above_0_is_an_error():
    logits = torch.zeros(1, 2, 1, 1)
    with pytest.raises(InputError, match="temperature is 0; expected a number above 0"):
        transfer_loss(logits, logits, metric="kl", level="global", temperature=0)


def test_the_thesis_channel_cosine_compares_all_pairs_of_unequal_channels():
    student, teacher = pair(0, 2, 3, 4, 4, teacher=(2, 7, 4, 4))
    loss = transfer_loss(student, teacher, metric="cosine", level="channel", variant="thesis")
    expected = defined_loss(student.numpy(), teacher.numpy(), "cosine", "channel", "thesis")
    assert loss.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("metric", "level", "variant"), EVERY_LOSS)
@pytest.mark.parametrize("grid", [(3, 2), (2, 2)])
def test_the_gradient_of_both_sides_is_the_derivative_of_the_loss(metric, level, variant, grid):
    student, teacher = pair(1, 2, 3, 3, 2, teacher=(2, 3, *grid))

    def loss(s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return transfer_loss(s, t, metric=metric, level=level, variant=variant)

    assert torch.autograd.gradcheck(loss, (student.requires_grad_(), teacher.requires_grad_()))


@pytest.mark.parametrize(("metric", "level"), list(itertools.product(METRICS, TRANSFER_LEVELS)))
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_is_finite_where_the_maps_agree_and_where_they_are_zero(
    metric, level, variant
):
    student = pair(2, 2, 3, 4, 4)[0]
    student[:, 1] = 0
    student[0, :, 2] = 0
    teacher = student.clone()
    student.requires_grad_(), teacher.requires_grad_()
    transfer_loss(student, teacher, metric=metric, level=level, variant=variant).backward()
    assert student.grad is not None
    assert teacher.grad is not None
    assert student.grad.isfinite().all()
    assert teacher.grad.isfinite().all()


@pytest.mark.parametrize(("metric", "level", "variant"), EVERY_LOSS)
@pytest.mark.parametrize("coarse_side", ["student", "teacher"])
def test_the_coarser_grid_is_resized_bilinearly_to_the_finer(metric, level, variant, coarse_side):
    coarse, fine = pair(3, 2, 3, 2, 3, teacher=(2, 3, 5, 6))
    resized = torch.nn.functional.interpolate(
        coarse, (5, 6), mode="bilinear", align_corners=False
    ).numpy()
    sides = (coarse, fine) if coarse_side == "student" else (fine, coarse)
    loss = transfer_loss(*sides, metric=metric, level=level, variant=variant)
    on_one_grid = (resized, fine.numpy()) if coarse_side == "student" else (fine.numpy(), resized)
    assert loss.item() == pytest.approx(defined_loss(*on_one_grid, metric, level, variant))


def test_names_are_accepted_in_upper_case():
    student, teacher = pair(4, 2, 3, 2, 2)
    loud = transfer_loss(student, teacher, metric="L2", level="GLOBAL", variant="Thesis")
    assert loud == transfer_loss(student, teacher, metric="l2", level="global", variant="thesis")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("metric", "level", "variant"), EVERY_LOSS)
def test_half_precision_is_computed_in_float32(dtype, metric, level, variant):
    # The squares of 300 do not fit float16.
    student, teacher = (300 * maps.to(dtype) for maps in pair(5, 2, 3, 4, 4))
    loss = transfer_loss(student, teacher, metric=metric, level=level, variant=variant)
    wide = transfer_loss(
        student.float(), teacher.float(), metric=metric, level=level, variant=variant
    )
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert loss == wide


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"metric": "l3"}, "metric 'l3' is unknown; expected one of cosine, l1, l2, kl"),
        ({"level": "pixel"}, "level 'pixel' is unknown; expected one of global, channel, spatial"),
        ({"variant": "paper"}, "variant 'paper' is unknown; expected one of scaled, thesis"),
    ],
)
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(names, said):
    student, teacher = pair(6, 1, 2, 2, 2)
    with pytest.raises(InputError) as error:
        transfer_loss(student, teacher, **{"metric": "l1", "level": "global", **names})
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((2, 3, 4, 4), (2, 5, 4, 4)),
        ((2, 3, 4, 4), (1, 3, 4, 4)),
        ((2, 3, 4), (2, 3, 4)),
        ((2, 3, 0, 4), (2, 3, 4, 4)),
        ((0, 3, 4, 4), (0, 3, 4, 4)),
    ],
)
def test_shapes_that_do_not_meet_are_an_error_that_names_both(student, teacher):
    with pytest.raises(InputError) as error:
        transfer_loss(torch.zeros(student), torch.zeros(teacher), metric="l1", level="global")
    assert f"student {list(student)}" in str(error.value)
    assert f"teacher {list(teacher)}" in str(error.value)
