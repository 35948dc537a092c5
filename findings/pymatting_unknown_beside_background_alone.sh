#!/usr/bin/env bash
# One would guess: where all unknown pixels of a trimap lie within background, and the object is
# somewhere else, alpha matting gives them alpha 0, as it gives 1 to those that lie within the
# object. It is the easiest system there is: its right-hand side is zero, and so is its solution.
#
# What happens: of the two, pymatting solves the second at once and gives the first up with
# "Conjugate gradient descent did not converge within 10000 iterations". Its solver stops where the
# residual is smaller than a share of the right-hand side's length. Both are 0, 0 is not smaller than
# 0, and the next step divides 0 by 0: all further iterations are over NaN. Any `atol` above 0 in
# `cg_kwargs` makes it return the right alpha before the first step.
#
# Why it matters: trimaps that are cut from a network's maps often have an unsure spot far from the
# object. One such image in a folder ends the whole batch, and the message sends one to the image's
# noise and to more iterations, of which no number helps (pymatting's issue 66 asks for the cause of
# this message).
#
# Seen with pymatting==1.1.16, numba==0.68.1 and Python 3.11.7 on Linux, 29 November 2026.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pymatting==1.1.16 numba==0.68.1 numpy==2.4.6 scipy
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from pymatting import estimate_alpha_cf

print(f"pymatting {version('pymatting')}")
image = np.random.default_rng(0).random((32, 32, 3))


def unknown_within(side, **solver):
    """The alpha of a square within one side; the other side is a corner far from it."""
    trimap = np.full((32, 32), float(side))
    trimap[:4, :4] = 1 - side
    trimap[16:22, 16:22] = 0.5
    alpha = estimate_alpha_cf(image, trimap, cg_kwargs=solver)
    return alpha[16:22, 16:22]


inside = unknown_within(1)
print(f"within the object: alpha {inside.min():.4f} to {inside.max():.4f}")
try:
    unknown_within(0)
    gave_up = False
except ValueError as error:
    gave_up = True
    print(f"within the background: {error}")
with_atol = unknown_within(0, atol=1e-300)
print(f"the same with atol=1e-300: alpha {with_atol.min():.4f} to {with_atol.max():.4f}")
as_described = gave_up and inside.min() > 0.99 and with_atol.max() == 0
print("as described" if as_described else "THE BEHAVIOUR HAS CHANGED")
sys.exit(not as_described)
PYTHON
