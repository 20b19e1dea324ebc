"""Prints what safetensors and numpy read in the files named, one array a line, in order.

Each line holds the file's stem, the array's name, type and shape, and its bytes in hex.
"""

import pathlib
import sys

from safetensors import safe_open

for path in map(pathlib.Path, sys.argv[1:]):
    with safe_open(path, framework="numpy") as tensors:
        for name in sorted(tensors.keys()):
            array = tensors.get_tensor(name)
            shape = ",".join(map(str, array.shape))
            print(path.stem, name, array.dtype, f"[{shape}]", array.tobytes().hex())
