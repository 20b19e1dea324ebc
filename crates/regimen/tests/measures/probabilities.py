"""Measures of probabilities by scikit-learn and numpy: cases as JSON in, values as JSON out."""

import json
import sys

import numpy as np
import sklearn
from sklearn import metrics

sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def answer(case):
    columns, targets = case["columns"], np.array(case["targets"], int)
    probabilities = np.array(case["probabilities"], float).reshape(-1, columns)
    if not targets.size:
        return dict.fromkeys(["brier", "log_loss", "expected", "maximum"])
    rows = np.hstack([1 - probabilities, probabilities]) if columns == 1 else probabilities
    labels = list(range(rows.shape[1]))
    brier = metrics.brier_score_loss(targets, rows, labels=labels, scale_by_half=columns == 1)

    # By hand: scikit-learn has no calibration error.
    predicted, confidence = rows.argmax(axis=1), rows.max(axis=1)
    edges = np.arange(case["bins"] + 1) / case["bins"]
    bins = np.minimum(np.searchsorted(edges, confidence, side="right") - 1, case["bins"] - 1)
    gaps, shares = [], []
    for bin_ in np.unique(bins):
        of_bin = bins == bin_
        gaps.append(abs((predicted == targets)[of_bin].mean() - confidence[of_bin].mean()))
        shares.append(of_bin.mean())
    return {
        "brier": float(brier),
        "log_loss": float(metrics.log_loss(targets, rows, labels=labels)),
        "expected": float(np.dot(gaps, shares)),
        "maximum": float(max(gaps)),
    }


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
