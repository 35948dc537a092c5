#!/usr/bin/env bash
# One would guess: a file of torch.save is a ZIP archive, each tensor in it has a CRC-32, so
# torch.load notices a bit that rotted on the disk, as every unpacker of ZIP does.
#
# What happens: torch.load returns another number. The archive holds the CRC-32 of the tensor, and
# Python's zipfile refuses the same file by it, but PyTorch's reader never compares it: not when it
# reads the file whole, not with mmap=True, not with weights_only=True.
#
# Why it matters: a checkpoint that rots on a disk or a network file system is trained on from, a
# teacher that rots teaches, and nothing says so. A digest has to be kept beside or inside the file.
#
# Seen with torch==2.15.0 and Python 3.11.7 on Linux, 28 November 2026: zipfile says that the CRC-32
# of sound/data/0 does not fit; torch.load gives 125.0 for the 500.0 that was saved, whole and mapped.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import zipfile

import torch

saved = torch.arange(1000, dtype=torch.float32)
torch.save({"weights": saved}, "sound.pt")
content = bytearray(open("sound.pt", "rb").read())
# The lowest bit of the last byte of the 500th number: one of its exponent's bits.
content[bytes(content).index(saved.numpy().tobytes()) + 4 * 500 + 3] ^= 1
open("rotten.pt", "wb").write(content)

print(f"torch {torch.__version__}")
named = zipfile.ZipFile("rotten.pt").testzip()
print(f"zipfile: the CRC-32 of {named} does not fit")
read = []
for how in ({}, {"mmap": True}):
    try:
        loaded = torch.load("rotten.pt", weights_only=True, **how)["weights"]
        read.append(loaded[500].item())
    except Exception as error:
        read.append(error)
    print(f"torch.load {how or 'whole'}: number 500 is {read[-1]}, saved was {saved[500].item()}")
if named is None or read != [125.0, 125.0]:
    sys.exit("this has changed")
PYTHON
