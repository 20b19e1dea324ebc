"""Scores of labels by scikit-learn: cases as JSON in, values as JSON out."""

import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn import metrics

warnings.simplefilter("ignore")
sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
AVERAGES = ["micro", "macro", "weighted"]


def scores(case):
    rows = (-1, case["labels"])
    targets, predicted = np.array(case["targets"], int).reshape(rows), np.array(case["predicted"], int).reshape(rows)
    found, labels = {}, range(case["labels"])
    for average in [None, *AVERAGES]:
        values = metrics.precision_recall_fscore_support(
            targets, predicted, beta=case["beta"], average=average, zero_division=np.nan
        )
        support = values[3] if average is None else support
        for name, value in zip(["precision", "recall", "f_beta"], values):
            if average is None:
                found |= {f"{name} {label}": value[label] for label in labels}
                continue
            # Of values that all have a weight of 0, it is the mean without weights.
            weights = [support[label] for label in labels if not np.isnan(found[f"{name} {label}"])]
            found[f"{name} {average}"] = np.nan if average == "weighted" and sum(weights) == 0 else value
    found["hamming loss"] = metrics.hamming_loss(targets, predicted)
    found["exact match"] = metrics.accuracy_score(targets, predicted)
    return found


def nothing(case):
    """Nothing is counted, which scikit-learn refuses."""
    of = [*AVERAGES, *range(case["labels"])]
    scores = {f"{name} {one}": np.nan for name in ["precision", "recall", "f_beta"] for one in of}
    return scores | {"hamming loss": np.nan, "exact match": np.nan}


answers = []
for case in json.load(sys.stdin):
    values = scores(case) if case["targets"] else nothing(case)
    answers.append({name: None if np.isnan(value) else float(value) for name, value in values.items()})
json.dump(answers, sys.stdout)
