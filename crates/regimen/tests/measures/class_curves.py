"""Areas under one-vs-rest curves by scikit-learn: cases as JSON in, values as JSON out."""

import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn import metrics

warnings.simplefilter("ignore")
sklearn.set_config(assume_finite=True, skip_parameter_validation=True)


def averages(values, weights):
    there = [(value, weight) for value, weight in zip(values, weights) if value is not None]
    weight = sum(weight for _, weight in there)
    return {
        "macro": sum(value for value, _ in there) / len(there) if there else None,
        "weighted": sum(value * weight for value, weight in there) / weight if weight else None,
    }


def answer(case):
    classes, targets = case["classes"], np.array(case["targets"], int)
    scores = np.array(case["scores"], float).reshape(-1, classes)
    one_hot = targets[:, None] == np.arange(classes)

    def auroc(column, score):
        return metrics.roc_auc_score(column, score) if column.any() and not column.all() else None

    def precision(column, score):
        return metrics.average_precision_score(column, score) if column.any() else None

    support = one_hot.sum(axis=0)
    found = averages([auroc(*of) for of in zip(one_hot.T, scores.T)], support)
    if classes > 2 and support.all():
        # All classes are there, so that scikit-learn takes them at once.
        for average in ["macro", "weighted"]:
            at_once = metrics.roc_auc_score(targets, scores, multi_class="ovr", average=average)
            assert abs(found[average] - at_once) < 1e-12
            found[average] = at_once
    found["micro"] = auroc(one_hot.ravel(), scores.ravel())
    precisions = averages([precision(*of) for of in zip(one_hot.T, scores.T)], support)
    precisions["micro"] = precision(one_hot.ravel(), scores.ravel())
    found |= {f"{name} precision": value for name, value in precisions.items()}
    return {name: None if value is None else float(value) for name, value in found.items()}


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
