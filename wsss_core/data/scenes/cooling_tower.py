"""The second class of procedural scenes: steam, and the cooling tower it tends to rise from."""

from dataclasses import dataclass, replace

import numpy as np

from wsss_core.data.scenes.painting import Tapered, colour
from wsss_core.data.scenes.plume import Plume

_CONCRETE = colour(0.70, 0.69, 0.66)
_WAIST = 0.3  # where a tower is narrowest, as a share of its height from the top


@dataclass(frozen=True)
class CoolingTower(Tapered):
    """A hyperboloid shell with a dark mouth, in unit coordinates."""

    half_width_waist: float
    flare: float

    def half_width(self, share: np.ndarray) -> np.ndarray:
        """Return half its width at a share of its height, 0 at the top: a hyperbola."""
        return self.half_width_waist * np.hypot(1, self.flare * (share - _WAIST))

    def shaded(self, share: np.ndarray, around: np.ndarray) -> np.ndarray:
        """Return its colour, see `Tapered`."""
        mouth = np.where(share < 0.05, np.float32(0.55), np.float32(1))
        return self.surface * ((np.float32(0.72) + np.float32(0.34) * around) * mouth)


def draw_cooling_tower(random: np.random.Generator, horizon: float) -> CoolingTower:
    """Draw a tower, broader than any chimney and not as tall as most."""
    base = horizon + random.uniform(0.0, 0.03)
    height = random.uniform(0.22, 0.34)
    return CoolingTower(
        x=random.uniform(0.15, 0.85),
        top=base - height,
        base=base,
        half_width_waist=height * random.uniform(0.26, 0.34),
        flare=random.uniform(1.1, 1.5),
        surface=_CONCRETE * np.float32(random.uniform(0.8, 1.1)),
        distance=random.uniform(0.3, 0.6),
    )


def draw_steam(
    random: np.random.Generator, plume: Plume, horizon: float, tower: CoolingTower | None
) -> Plume:
    """Turn a plume of smoke into one of steam: white, wide, dense at its foot and soon gone.

    Nine in ten rise from the tower's mouth if there is a tower, the others from the ground.
    """
    from_tower = random.random() < 0.9
    # Above 1, as droplets scatter the light that soot would swallow within the plume.
    x, grey = random.uniform(0.1, 0.9), random.uniform(1.3, 1.45)
    steam = replace(
        plume,
        x=x,
        y=horizon,
        rise=random.uniform(0.18, 0.34),
        reach=plume.reach * 0.6,
        width=random.uniform(0.035, 0.05),
        spread=random.uniform(0.05, 0.09),
        depth=random.uniform(3.5, 6.0),
        smoke=colour(grey, grey, grey),
        behind_front=False,
    )
    if tower is None or not from_tower:
        return steam
    width = 0.55 * float(tower.half_width(np.zeros(1))[0])
    return replace(steam, x=tower.x, y=tower.top + 0.01, width=width)
