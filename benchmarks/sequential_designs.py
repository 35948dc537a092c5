"""Trainings needed and wrong decisions of sequential designs, beside a fixed number of seeds.

    python benchmarks/sequential_designs.py               # 20,000 studies a line, 20 seconds
    python benchmarks/sequential_designs.py --runs 100000 --planned 0.6 1.0 --power 0.75

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
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.stats

from reports.deciding import BoundaryShape, GroupSequential, SequentialTest, TMixture

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
    for n in range(2, MOST + 1):
        critical = scipy.stats.t.ppf(1 - level / 2, n - 1)
        if scipy.stats.nct.sf(critical, n - 1, effect * n**0.5) >= power:
            return n
    raise SystemExit(f"an effect of {effect} needs more than {MOST} seeds")


def designs() -> dict[str, Callable[[int], SequentialTest]]:
    """Return what makes a test of its most seeds, by name."""
    return {
        "t-test, O'Brien-Fleming": lambda last: GroupSequential(
            last, FIRST, shape=BoundaryShape.OBRIEN_FLEMING
        ),
        "t-test, Pocock": lambda last: GroupSequential(last, FIRST, shape=BoundaryShape.POCOCK),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20_000, help="studies a line")
    parser.add_argument("--planned", type=float, nargs="+", default=[0.7, 1.0])
    parser.add_argument("--level", type=float, default=0.05)
    parser.add_argument("--power", type=float, default=0.8, help="of the sequential designs")
    parser.add_argument("--fixed-power", type=float, default=0.8)
    parser.add_argument("--draws", nargs="+", choices=DRAWS, default=["normal"])
    options = parser.parse_args()
    for planned in options.planned:
        fixed = fixed_seeds(planned, options.level, options.fixed_power)
        print(f"\nsmallest difference {planned:g} sd; fixed: {fixed} seeds, {2 * fixed} trainings")
        print(LINE.format("", "truth", "most", "trainings", "better", "none", "spent", "wrong"))
        for name, make in designs().items():
            most = least_seeds(make, planned, options.level, options.power, fixed)
            for draw in options.draws:
                print(f"{name}, {draw}")
                for truth in TRUTHS:
                    of, sd = DRAWS[draw]
                    d = of(np.random.default_rng(7), (options.runs, most)) / sd + truth * planned
                    ends = simulate(d, make(most), planned, options.level)
                    shares = (ends.better, ends.no_difference, ends.open)
                    cells = [f"{100 * share:.1f}" for share in (*shares, ends.wrong(truth))]
                    print(LINE.format("", f"{truth:g}", most, f"{ends.seeds / fixed:.2f}", *cells))


if __name__ == "__main__":
    main()
