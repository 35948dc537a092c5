#!/usr/bin/env bash
# One would guess: torch.set_num_threads is a setting of the process, so the last call holds for all
# threads; or, as OpenMP has it, one of the thread that calls, so that no thread changes another.
#
# What happens: neither. Each thread takes the process's number at its first parallel operator (or
# torch.get_num_threads), even if it has set another itself before. So the number that a program sets
# at its start is lost if a helper thread sets its own before the main thread's first operator. After
# that operator it is kept, and the same call changes nothing.
#
# Why it matters: a pool that decodes images, each of its threads held to one core, leaves the
# training loop on one core as well, or does not, by which of both came first. Results stay the same,
# a step takes twice as long. Ask for torch.get_num_threads() right after setting it: that keeps it.
#
# Seen with torch==2.15.0 and Python 3.11.7 on Linux, 28 November 2026: the main thread sets 2, a
# helper thread 1; the main thread then has 1. With an operator in between it has 2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
cat > "$folder/threads.py" <<'PYTHON'
import sys
import threading

import torch

torch.set_num_threads(2)
if sys.argv[1] == "operator":
    torch.rand(1000, 1000).sum()
helper = threading.Thread(target=torch.set_num_threads, args=(1,))
helper.start()
helper.join()
print(torch.get_num_threads())
PYTHON
"$folder/venv/bin/python" -c 'import torch; print("torch", torch.__version__)'
found=()
for between in nothing operator; do
    found[${#found[@]}]=$(OMP_NUM_THREADS=2 "$folder/venv/bin/python" "$folder/threads.py" $between)
    echo "set to 2, $between in between, set to 1 in another thread: ${found[-1]}"
done
[ "${found[*]}" = "1 2" ] || { echo "this has changed" >&2; exit 1; }
