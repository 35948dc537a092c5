"""Each relation against its paper's equation in NumPy's float64, one number at a time."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from wsss_core.errors import InputError
from wsss_core.transfer import RELATIONS
from wsss_core.transfer.relations import (
    MinibatchCKA,
    VariationalInformation,
    class_relations,
    correlation_congruence,
    linear_cka,
    relation_loss,
    standardised_kl,
    standardised_logits,
)

Array = np.ndarray


def rows_of(maps: Array) -> Array:
    return maps.reshape(len(maps), -1)


def huber(one: float, other: float) -> float:
    gap = abs(one - other)
    return gap * gap / 2 if gap <= 1 else gap - 0.5


def attention(student: Array, teacher: Array) -> float:
    losses = []
    for s, t in zip(student, teacher, strict=True):
        q, r = ((one**2).sum(0).ravel() for one in (s, t))
        gap = q / np.sqrt((q**2).sum()) - r / np.sqrt((r**2).sum())
        losses.append((gap**2).sum() / 2)
    return float(np.mean(losses))


def similarity(student: Array, teacher: Array) -> float:
    grams = []
    for maps in map(rows_of, (student, teacher)):
        gram = np.array([[float(a @ b) for b in maps] for a in maps])
        grams.append([row / math.sqrt(sum(x * x for x in row)) for row in gram])
    return float(((np.array(grams[0]) - np.array(grams[1])) ** 2).sum()) / len(student) ** 2


def distance(student: Array, teacher: Array) -> float:
    pairs = list(itertools.combinations(range(len(student)), 2))
    spacings = []
    for maps in map(rows_of, (student, teacher)):
        gaps = [float(np.linalg.norm(maps[i] - maps[j])) for i, j in pairs]
        spacings.append([gap / (math.fsum(gaps) / len(gaps)) for gap in gaps])
    return math.fsum(map(huber, *spacings)) / len(pairs)


def angle(student: Array, teacher: Array) -> float:
    found = []
    for i, j, k in itertools.permutations(range(len(student)), 3):
        cosines = []
        for maps in map(rows_of, (student, teacher)):
            one, other = maps[i] - maps[j], maps[k] - maps[j]
            lengths = np.linalg.norm(one) * np.linalg.norm(other)
            cosines.append(float(one @ other / lengths))
        found.append(huber(*cosines))
    return math.fsum(found) / len(found)


def neighbours(student: Array, teacher: Array) -> float:
    total = 0.0
    for i in range(len(student)):
        others = [j for j in range(len(student)) if j != i]
        shares = []
        for maps in map(rows_of, (student, teacher)):
            kernel = [
                max(
                    (
                        float(maps[i] @ maps[j] / np.linalg.norm(maps[i]) / np.linalg.norm(maps[j]))
                        + 1
                    )
                    / 2,
                    1e-7,
                )
                for j in others
            ]
            shares.append([value / sum(kernel) for value in kernel])
        total += math.fsum(p * math.log(p / q) for q, p in zip(*shares, strict=True))
    return total / len(student)


def congruence(student: Array, teacher: Array, gamma: float = 0.4, order: int = 2) -> float:
    kernels = []
    for maps in map(rows_of, (student, teacher)):
        unit = [row / np.linalg.norm(row) for row in maps]
        kernels.append(
            [
                math.exp(-2 * gamma)
                * sum(
                    (2 * gamma) ** p / math.factorial(p) * float(a @ b) ** p
                    for p in range(order + 1)
                )
                for a in unit
                for b in unit
            ]
        )
    return float(np.mean((np.array(kernels[0]) - np.array(kernels[1])) ** 2))


def cka(student: Array, teacher: Array) -> float:
    """By features, as in eq. 3: |Y'X|^2 / (|X'X| |Y'Y|) in place of products of images."""
    x, y = (rows_of(maps) - rows_of(maps).mean(0) for maps in (student, teacher))
    both = np.linalg.norm(y.T @ x) ** 2
    return float(1 - both / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y))


def dist(student: Array, teacher: Array, temperature: float = 1.0) -> float:
    s, t = (1 / (1 + np.exp(-rows_of(maps) / temperature)) for maps in (student, teacher))
    total = 0.0
    for one, other in ((s, t), (s.T, t.T)):
        if one.shape[1] > 1:
            correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)]
            total += 1 - float(np.mean(correlations))
    return temperature**2 * total


def standardised(student: Array, teacher: Array, temperature: float = 1.0) -> float:
    losses = []
    for s, t in zip(rows_of(student), rows_of(teacher), strict=True):
        shares = []
        for z in (s, t):
            weights = np.exp((z - z.mean()) / z.std() / temperature)
            shares.append(weights / weights.sum())
        losses.append(float((shares[1] * np.log(shares[1] / shares[0])).sum()))
    return temperature**2 * math.fsum(losses) / len(losses)


ORACLES: dict[str, Callable[[Array, Array], float]] = {
    "at": attention,
    "spkd": similarity,
    "rkd_distance": distance,
    "rkd_angle": angle,
    "pkt": neighbours,
    "cc": congruence,
    "cka": cka,
    "dist": dist,
    "kl_standardised": standardised,
}


def pair(relation: str, seed: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two maps whose channels differ where a relation allows it, of spread sizes."""
    random = np.random.default_rng(seed)
    shape = (batch, 5, 1, 1) if relation in ("dist", "kl_standardised") else (batch, 3, 4, 2)
    other = shape if shape[-1] == 1 else (batch, 6, 4, 2)
    one = torch.from_numpy(random.normal(0.3, 1.5, size=shape))
    return one, torch.from_numpy(random.normal(0.2, 3.0, size=other))


def test_every_relation_that_learns_nothing_has_an_oracle():
    assert {*ORACLES, "vid", "ofa", "cross_attention"} == set(RELATIONS)


@pytest.mark.parametrize("batch", [2, 3, 5])
@pytest.mark.parametrize("relation", ORACLES)
def test_a_relation_is_what_its_paper_says(relation, batch):
    student, teacher = pair(relation, batch, batch)
    loss = relation_loss(student, teacher, relation=relation)
    if batch == 2 and relation in ("rkd_angle", "rkd_distance", "pkt"):
        assert loss == 0  # no triplets; the only distance is the mean; the only neighbour is sure
    else:
        expected = ORACLES[relation](student.numpy(), teacher.numpy())
        assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert loss.shape == ()


@pytest.mark.parametrize("relation", ORACLES)
def test_the_gradient_of_both_sides_is_the_derivative(relation):
    both = [one.requires_grad_() for one in pair(relation, 7, 4)]
    assert torch.autograd.gradcheck(lambda s, t: relation_loss(s, t, relation=relation), both)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize(
    ("loss", "oracle"), [(class_relations, dist), (standardised_kl, standardised)]
)
def test_logits_are_divided_by_the_temperature(loss, oracle, temperature):
    student, teacher = pair("dist", 3, 4)
    found = loss(student, teacher, temperature=temperature)
    assert found.item() == pytest.approx(oracle(student.numpy(), teacher.numpy(), temperature))


@pytest.mark.parametrize("loss", [class_relations, standardised_kl])
def test_a_temperature_that_is_not_above_0_is_refused(loss):
    with pytest.raises(InputError, match="temperature is 0; expected a number above 0"):
        loss(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("classes", [1, 4])
def test_dist_leaves_out_what_a_single_class_or_image_cannot_show(batch, classes):
    random = np.random.default_rng(5)
    student, teacher = random.normal(size=(2, batch, classes))
    found = class_relations(torch.from_numpy(student), torch.from_numpy(teacher))
    assert found.item() == pytest.approx(dist(student, teacher), abs=1e-12)


def test_standardised_logits_have_mean_0_and_deviation_1_over_t():
    logits = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    found = standardised_logits(logits, temperature=2.0)
    torch.testing.assert_close(found.mean(1), torch.zeros(2))
    torch.testing.assert_close(found.std(1, correction=0), torch.tensor([0.5, 0.0]))


def test_one_class_has_no_standardised_logits():
    with pytest.raises(InputError, match="there is 1"):
        standardised_kl(torch.zeros(4, 1), torch.zeros(4, 1))


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 1), (1.5, 3)])
def test_the_kernel_of_cc_can_be_chosen(gamma, order):
    student, teacher = pair("cc", 11, 4)
    found = correlation_congruence(student, teacher, gamma=gamma, order=order)
    expected = congruence(student.numpy(), teacher.numpy(), gamma, order)
    assert found.item() == pytest.approx(expected)


def test_a_long_taylor_series_of_cc_is_the_gaussian_kernel():
    student, teacher = (one.flatten(1) for one in pair("cc", 12, 4))
    student, teacher = (one / one.norm(dim=1, keepdim=True) for one in (student, teacher))
    kernels = [torch.exp(-0.4 * torch.cdist(one, one) ** 2) for one in (student, teacher)]
    found = correlation_congruence(student, teacher, order=20)
    torch.testing.assert_close(found, (kernels[0] - kernels[1]).square().mean())


def gaussian_log_likelihood(t: Array, mean: Array, variance: Array) -> float:
    terms = [
        -0.5 * math.log(2 * math.pi * variance[c]) - (t[i] - mean[i]) ** 2 / (2 * variance[c])
        for i in np.ndindex(t.shape)
        for c in [i[1]]
    ]
    return math.fsum(terms) / len(terms)


def test_vid_is_the_negative_log_likelihood_but_for_a_constant():
    random = np.random.default_rng(2)
    student, teacher = random.normal(size=(2, 3, 4, 2, 3))
    vid = VariationalInformation(4).double()
    vid.alpha.data = torch.from_numpy(random.normal(size=4))
    variance = np.log1p(np.exp(vid.alpha.detach().numpy())) + 1e-5
    expected = -gaussian_log_likelihood(teacher, student, variance) - math.log(2 * math.pi) / 2
    found = vid(torch.from_numpy(student), torch.from_numpy(teacher))
    assert found.item() == pytest.approx(expected)


def test_vid_starts_with_the_variance_asked_for():
    found = VariationalInformation(3, variance=2.0).variance()
    torch.testing.assert_close(found, torch.full((3,), 2.0))


def test_the_gradient_of_vid_reaches_both_maps_and_the_variance():
    vid = VariationalInformation(3).double()
    random = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 2, 2, generator=random, dtype=torch.float64)
    both = (student.requires_grad_(), teacher.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t, _: vid(s, t), (*both, vid.alpha))


def test_the_likeliest_variance_of_vid_is_the_mean_squared_error():
    random = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 5, 2, 3, 3, generator=random)
    errors = (student - teacher).square().mean((0, 2, 3))
    vid = VariationalInformation(2)
    vid.alpha.data = torch.log(torch.expm1(errors - 1e-5))
    vid(student, teacher).backward()
    torch.testing.assert_close(vid.alpha.grad, torch.zeros(2), atol=1e-6, rtol=0)


def hsic(k: Array, m: Array) -> float:
    """HSIC_1 as the U-statistic it is: the mean over ordered 4-tuples of different images."""
    tuples = list(itertools.permutations(range(len(k)), 4))
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in tuples]
    return math.fsum(terms) / len(terms)


def test_cka_over_batches_is_the_ratio_of_summed_unbiased_estimates():
    random = np.random.default_rng(4)
    measure, sums = MinibatchCKA(), np.zeros(3)
    for batch in (4, 6):
        x = random.normal(size=(batch, 3))
        y = x @ random.normal(size=(3, 5)) + 0.3 * random.normal(size=(batch, 5))
        k, m = x @ x.T, y @ y.T
        sums += [hsic(k, m), hsic(k, k), hsic(m, m)]
        measure.add(torch.from_numpy(x), torch.from_numpy(y))
    assert measure.value() == pytest.approx(sums[0] / math.sqrt(sums[1] * sums[2]))


def test_cka_over_small_batches_of_unrelated_maps_is_near_0_where_that_of_a_batch_is_not():
    random = torch.Generator().manual_seed(3)
    measure, biased = MinibatchCKA(), []
    for _ in range(100):
        one, other = torch.randn(2, 8, 64, generator=random)
        measure.add(one, other)
        biased.append(1 - linear_cka(one, other).item())
    assert abs(measure.value()) < 0.1
    assert np.mean(biased) > 0.7


def test_cka_over_batches_needs_four_images_and_a_batch():
    assert math.isnan(MinibatchCKA().value())
    with pytest.raises(InputError, match="needs 4 images in each; got 3"):
        MinibatchCKA().add(torch.ones(3, 2), torch.ones(3, 2))


@pytest.mark.parametrize("relation", ORACLES)
def test_maps_of_other_images_are_refused(relation):
    with pytest.raises(InputError, match="student"):
        relation_loss(torch.ones(2, 3, 2, 2), torch.ones(3, 3, 2, 2), relation=relation)


def test_an_unknown_relation_is_refused():
    with pytest.raises(InputError, match="relation 'kl' is unknown; expected one of at, spkd"):
        relation_loss(torch.ones(2, 3), torch.ones(2, 3), relation="kl")


def test_attention_of_a_single_location_is_refused():
    with pytest.raises(InputError, match="a single one"):
        relation_loss(torch.ones(2, 3, 1, 1), torch.ones(2, 3, 1, 1), relation="at")
