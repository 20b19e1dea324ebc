"""Statistics of numbers by numpy: cases as JSON in, values as JSON out."""

import json
import sys

import numpy as np

answers = []
for case in json.load(sys.stdin):
    values = np.array(case["values"])
    value = lambda function, least=1: float(function(values)) if len(values) >= least else None
    answers.append({
        "mean": value(np.mean),
        "variance": value(np.var),
        "sample_variance": value(lambda values: np.var(values, ddof=1), 2),
        "min": value(np.min),
        "max": value(np.max),
        "quantile": value(lambda values: np.quantile(values, case["q"])),
    })
json.dump(answers, sys.stdout)
