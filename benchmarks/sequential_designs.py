"""Trainings needed and wrong decisions of sequential designs, beside a fixed number of seeds.

    python benchmarks/sequential_designs.py               # 20,000 studies a line, 20 seconds
    python benchmarks/sequential_designs.py --runs 100000 --planned 0.6 1.0 --power 0.75
    python benchmarks/sequential_designs.py --shipped --figure docs/figures/sequential_designs.svg

A design is planned for the smallest difference that matters, in standard deviations of the paired
differences. The fixed design has the least number of seeds whose t-test finds it with the stated
power. A sequential design has the least last look (for the t-mixture: the least most seeds) whose
studies find it with the power `--power`; it looks after every seed from the third on, and may end
in "no difference that matters".

The true difference is then 0, 1, 1.5, 2 and 3 times the planned one. Printed are the mean number of
trainings over that of the fixed design, the share of studies that end in better, in no difference
that matters and with the budget spent, and the share of wrong decisions: better or worse where
nothing differs, worse where the row is better, no difference where one matters. Differences are
normal, with heavy tails, skewed to either side, or those of rows that collapse now and then.

With `--shipped` the differences are those of two rows with the spreads, the pairing and the skew
that the studies of docs/studies found, and the smallest difference is 5 points (crops: 10).
`--figure` draws the lines for normal differences, and for the shipped studies.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import gammaincinv, ndtr

from reports.deciding import (
    BoundaryShape,
    GroupSequential,
    SequentialTest,
    TMixture,
    fixed_design_seeds,
)

FIRST = 3  # seeds before the first decision
MOST = 400  # a design that needs more seeds is left out
TRUTHS = (0.0, 1.0, 1.5, 2.0, 3.0)  # true difference over the planned one
LINE = "{:<22}{:>7}{:>8}{:>11}{:>9}{:>9}{:>8}{:>8}"

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def collapses(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw differences of two rows, each of which falls by four deviations in 15 % of seeds."""
    fallen = 4.0 * (rng.random((2, *shape)) < 0.15)
    return np.asarray(rng.standard_normal(shape) + fallen[0] - fallen[1])


def one_collapses(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw differences of which the row alone falls by four deviations in 15 % of seeds."""
    return np.asarray(rng.standard_normal(shape) - 4.0 * (rng.random(shape) < 0.15) + 0.6)


# Mean 0; divided by their standard deviation before use.
DRAWS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.standard_normal(shape), 1.0),
    "t with 3 df": (lambda rng, shape: rng.standard_t(3, shape), 3**0.5),
    "exponential": (lambda rng, shape: rng.exponential(1.0, shape) - 1.0, 1.0),
    "minus exponential": (lambda rng, shape: 1.0 - rng.exponential(1.0, shape), 1.0),
    "both rows collapse": (collapses, (1 + 2 * 16 * 0.15 * 0.85) ** 0.5),
    "one row collapses": (one_collapses, (1 + 16 * 0.15 * 0.85) ** 0.5),
}


@dataclass(frozen=True)
class Ends:
    """How simulated studies ended, as shares, and the mean number of seeds."""

    seeds: float
    better: float
    worse: float
    no_difference: float

    @property
    def open(self) -> float:
        """Share whose budget was spent."""
        return max(0.0, 1 - self.better - self.worse - self.no_difference)

    def wrong(self, truth: float) -> float:
        """Share of wrong decisions at a true difference in units of the smallest that matters."""
        if truth == 0:
            return self.better + self.worse
        return self.worse + (self.no_difference if truth >= 1 else 0.0)


def simulate(d: np.ndarray, test: SequentialTest, smallest: float, level: float) -> Ends:
    """Run the rule of `reports.deciding` on differences [runs, most seeds] all at once."""
    runs, most = d.shape
    n = np.arange(FIRST, most + 1)
    mean = (d.cumsum(1) / np.arange(1, most + 1))[:, FIRST - 1 :]
    squares = (d**2).cumsum(1)[:, FIRST - 1 :]
    error = np.sqrt((squares - n * mean**2) / (n - 1) / n)
    widths = np.array([[test.half_width(int(k), a) for k in n] for a in (level, 2 * level)])
    none = np.abs(mean) + widths[1] * error < smallest
    better, worse = mean - widths[0] * error > 0, mean + widths[0] * error < 0
    ended = none | better | worse
    first = np.where(ended.any(1), ended.argmax(1), len(n) - 1)
    at = (np.arange(runs), first)
    none_first = none[at]
    return Ends(
        float(n[first].mean()),
        float((better[at] & ~none_first).mean()),
        float((worse[at] & ~none_first).mean()),
        float(none_first.mean()),
    )


def fixed_seeds(effect: float, level: float, power: float) -> int:
    """Return the least number of seeds whose two-sided t-test finds an effect with a power."""
    found = fixed_design_seeds(effect, level, power, MOST)
    if found is None:
        raise SystemExit(f"an effect of {effect} needs more than {MOST} seeds")
    return found


@dataclass(frozen=True)
class Pairing:
    """Two rows of a study in docs/studies, as its table has them, in percent points.

    Attributes:
        name: the row, its study, and what it is compared with.
        sds: standard deviation of the row, of the other row, and of the paired difference.
        smallest: the smallest difference that matters.
        skew: skewness of the row's marginal; 0 for a normal one.

    """

    name: str
    sds: tuple[float, float, float]
    smallest: float
    skew: float = 0.0

    @property
    def effect(self) -> float:
        """The smallest difference in standard deviations of the paired difference."""
        return self.smallest / self.sds[2]

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Draw differences of mean 0 and standard deviation 1."""
        one, other, both = self.sds
        r = np.clip((one**2 + other**2 - both**2) / (2 * one * other), -0.99, 0.99)
        z = rng.standard_normal((2, *shape))
        row = r * z[1] + np.sqrt(1 - r**2) * z[0]
        if self.skew:
            k = (2 / self.skew) ** 2
            row = (gammaincinv(k, ndtr(row)) - k) / np.sqrt(k)
        found = one * row - other * z[1]
        return np.asarray(found / found.std())


SHIPPED = (
    Pairing("activation map - ViT alone (directions)", (1.7, 4.0, 4.5), 5),
    Pairing("features - ViT alone (thesis/backbones)", (9.4, 4.0, 11.3), 5, skew=1.5),
    Pairing("spatial map - ViT alone (representations)", (5.4, 4.0, 6.4), 5),
    Pairing("search 2 - ViT alone (search)", (0.7, 4.0, 3.6), 5),
    Pairing("co-trained, channel - ViT alone (strategies)", (5.9, 4.0, 1.9), 5),
    Pairing("activation map - CNN alone (directions)", (1.7, 3.0, 1.9), 5),
    Pairing("L1 - ViT alone (crops)", (3.4, 10.8, 7.4), 10),
    Pairing("features - ViT alone (crops)", (11.7, 10.8, 5.6), 10),
)


def designs() -> dict[str, Callable[[int], SequentialTest]]:
    """Return what makes a test of its most seeds, by name."""
    return {
        "t-test, O'Brien-Fleming": lambda last: GroupSequential(
            last, FIRST, shape=BoundaryShape.OBRIEN_FLEMING
        ),
        "t-test, Pocock": lambda last: GroupSequential(last, FIRST, shape=BoundaryShape.POCOCK),
        "t-test, early": lambda last: GroupSequential(last, FIRST, shape=BoundaryShape.EARLY),
        "t-mixture, g = 0.5": lambda last: TMixture(0.5),
    }


def least_seeds(
    make: Callable[[int], SequentialTest], effect: float, level: float, power: float, fixed: int
) -> int:
    """Return the least most seeds with which a sequential design finds the effect."""

    @cache
    def enough(most: int) -> bool:
        d = np.random.default_rng(1).standard_normal((20_000, most)) + effect
        return simulate(d, make(most), effect, level).better >= power

    low, high = FIRST, max(FIRST + 1, 3 * fixed)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


@dataclass(frozen=True)
class Line:
    """A design under true differences.

    Attributes:
        design: its name.
        fixed: seeds of the fixed design.
        most: its last look, or most seeds.
        ends: by true difference in units of the smallest that matters.

    """

    design: str
    fixed: int
    most: int
    ends: dict[float, Ends]

    @property
    def trainings(self) -> list[float]:
        """Mean trainings over those of the fixed design, by true difference."""
        return [ends.seeds / self.fixed for ends in self.ends.values()]

    @property
    def wrong(self) -> float:
        """Share of wrong decisions where it is largest, in percent."""
        return 100 * max(ends.wrong(truth) for truth, ends in self.ends.items())

    def show(self, title: str) -> None:
        """Print a line for each true difference."""
        print(title)
        for truth, ends in self.ends.items():
            shares = (ends.better, ends.no_difference, ends.open, ends.wrong(truth))
            cells = [f"{100 * share:.1f}" for share in shares]
            print(
                LINE.format("", f"{truth:g}", self.most, f"{ends.seeds / self.fixed:.3f}", *cells)
            )


def line(
    design: str, effect: float, draw: Draw, options: argparse.Namespace, truths: tuple[float, ...]
) -> Line:
    """Simulate a design that is planned for an effect of normal differences."""
    fixed = fixed_seeds(effect, options.level, options.fixed_power)
    make = designs()[design]
    most = least_seeds(make, effect, options.level, options.power, fixed)
    scatter = draw(np.random.default_rng(7), (options.runs, most))
    ends = {
        truth: simulate(scatter + truth * effect, make(most), effect, options.level)
        for truth in truths
    }
    return Line(design, fixed, most, ends)


def draw_figure(file: str, normal: dict[float, list[Line]], shipped: dict[str, list[Line]]) -> None:
    """Draw trainings against the true difference, and the rates of wrong decisions."""
    from reports.figures.style import BLUE, FAINT, GREEN, INK, VERMILION, StudyFigure, style

    hues = dict(zip(designs(), (VERMILION, BLUE, GREEN, FAINT), strict=True))
    with style():
        figure = StudyFigure(figsize=(8.6, 6.2), layout="constrained")
        figure.set_facecolor("white")
        upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.15))
        for axes, (effect, lines) in zip(
            upper.subplots(1, len(normal), sharey=True, squeeze=False).ravel(),
            normal.items(),
            strict=True,
        ):
            for one in lines:
                axes.plot(list(one.ends), one.trainings, "-o", color=hues[one.design], ms=3)
            axes.plot([0, 1], [1.2, 1.2], "--", color=INK, linewidth=1)
            axes.plot([1.5, 2, 3], [0.7, 0.5, 0.4], "v", color=INK, ms=5, fillstyle="none")
            fixed = lines[0].fixed
            axes.set_title(f"{2 * fixed} trainings (smallest = {effect:g} sd)", fontsize=8.5)
            axes.set_ylim(0, 1.75)
            axes.set_xlabel("true / smallest difference")
        upper.axes[0].set_ylabel("trainings / fixed design")
        left, right = lower.subplots(1, 2, sharey=True)
        names = list(shipped)
        for place, name in enumerate(names):
            for shift, one in enumerate(shipped[name]):
                at = place + 0.18 * (shift - 1.5)
                left.plot(one.trainings[1:4:2], [at] * 2, "o-", color=hues[one.design], ms=3)
                right.plot(one.wrong, at, "o", color=hues[one.design], ms=4)
        left.set_yticks(range(len(names)), names, fontsize=7)
        left.invert_yaxis()
        left.axvline(1, color=INK, linewidth=0.8)
        left.set_xlabel("trainings / fixed, at the smallest difference and twice it")
        right.axvline(5, color=INK, linewidth=0.8)
        right.set_xlabel("wrong decisions, at worst [%]")
        right.set_xlim(left=0)
        handles = [left.plot([], [], "o-", color=hue, ms=3, label=n)[0] for n, hue in hues.items()]
        figure.legend(handles=handles, loc="outside upper left", ncols=4, frameon=False, fontsize=8)
        figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000, help="studies a line")
    parser.add_argument("--planned", type=float, nargs="+", default=[0.7, 1.0])
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--power", type=float, default=0.8, help="of the sequential designs")
    parser.add_argument("--fixed-power", type=float, default=0.8)
    parser.add_argument("--draws", nargs="+", choices=DRAWS, default=["normal"])
    parser.add_argument("--shipped", action="store_true", help="spreads of docs/studies")
    parser.add_argument("--figure", metavar="FILE", help="draw one, of normal and shipped lines")
    options = parser.parse_args()
    normal: dict[float, list[Line]] = {}
    shipped: dict[str, list[Line]] = {}
    for planned in options.planned:
        fixed = fixed_seeds(planned, options.level, options.fixed_power)
        print(f"\nsmallest difference {planned:g} sd; fixed: {fixed} seeds, {2 * fixed} trainings")
        print(LINE.format("", "truth", "most", "trainings", "better", "none", "spent", "wrong"))
        for name in designs():
            for kind in options.draws:
                of, sd = DRAWS[kind]

                def draw(
                    rng: np.random.Generator, shape: tuple[int, int], of: Draw = of, sd: float = sd
                ) -> np.ndarray:
                    return of(rng, shape) / sd

                one = line(name, planned, draw, options, TRUTHS)
                one.show(f"{name}, {kind}")
                if kind == "normal":
                    normal.setdefault(planned, []).append(one)
    for pairing in SHIPPED if options.shipped else ():
        effect = pairing.effect
        print(f"\n{pairing.name}: smallest difference {effect:.2f} sd")
        print(LINE.format("", "truth", "most", "trainings", "better", "none", "spent", "wrong"))
        for name in designs():
            one = line(name, effect, pairing.draw, options, TRUTHS)
            one.show(name)
            shipped.setdefault(pairing.name, []).append(one)
    if options.figure:
        draw_figure(options.figure, normal, shipped)


if __name__ == "__main__":
    main()
