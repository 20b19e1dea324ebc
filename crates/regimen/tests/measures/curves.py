"""Curves of binary scores by scikit-learn: cases as JSON in, values as JSON out."""

import json
import sys
import warnings
from fractions import Fraction

import numpy as np
import sklearn
from sklearn import metrics

warnings.simplefilter("ignore")
sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def answer(case):
    targets, scores = np.array(case["targets"], bool), np.array(case["scores"], float)
    found = {"auroc": None, "average_precision": None, "best": None, "roc": [[]] * 3, "precision_recall": [[]] * 3}
    if targets.any():
        found["average_precision"] = float(metrics.average_precision_score(targets, scores))
        precision, recall, thresholds = metrics.precision_recall_curve(targets, scores)
        # The largest threshold first, and without the point that belongs to no threshold.
        found["precision_recall"] = [thresholds[::-1].tolist(), precision[-2::-1].tolist(), recall[-2::-1].tolist()]

        def f1(threshold):
            predicted = scores >= threshold
            right = int((predicted & targets).sum())
            return Fraction(2 * right, int(predicted.sum() + targets.sum()))

        best = max(sorted(set(scores.tolist()), reverse=True), key=f1)
        found["best"] = [best, float(f1(best))]
    if targets.any() and not targets.all():
        found["auroc"] = float(metrics.roc_auc_score(targets, scores))
        false_rate, true_rate, thresholds = metrics.roc_curve(targets, scores, drop_intermediate=False)
        found["roc"] = [[None, *thresholds[1:].tolist()], false_rate.tolist(), true_rate.tolist()]
    return found


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
