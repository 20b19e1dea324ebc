"""Writes progressive.jpg: a small image in several scans, which the encoder of `image` cannot write.

Run with Pillow 11 or newer as `python images.py`.
"""

import random

from PIL import Image

random.seed(7)
noise = Image.frombytes("RGB", (24, 20), bytes(random.randrange(256) for _ in range(24 * 20 * 3)))
noise.save("progressive.jpg", quality=40, progressive=True, subsampling=2)
