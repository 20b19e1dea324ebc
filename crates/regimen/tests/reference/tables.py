"""Writes tables.json: small tables as Python's csv module reads them, in its strict mode.

Run with Python 3.11 as `python tables.py > tables.json`. Each case is a text, what stands between
fields, and the rows; null where the module raises an error.
"""

import csv
import io
import json
import random

PIECES = ["a", "7", ",", ",", ";", '"', '"', '""', "\n", "\r\n", " ", "\u00e9", "#"]


def rows(text, delimiter):
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None


random.seed(7)
cases = []
while len(cases) < 600:
    text = "".join(random.choices(PIECES, k=random.randint(0, 12)))
    delimiter = random.choice(",;")
    cases.append([text, delimiter, rows(text, delimiter)])
print("[" + ",\n".join(json.dumps(case) for case in cases) + "]")
