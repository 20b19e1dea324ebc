"""Scores of confusion matrices by scikit-learn: cases as JSON in, values as JSON out."""

import json
import sys
import warnings

import numpy as np
import sklearn
from sklearn import metrics

warnings.simplefilter("ignore")
sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
AVERAGES = ["micro", "macro", "weighted"]


def mean(values, weights):
    """The weighted mean of the values that are not NaN."""
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    there = ~np.isnan(values)
    weights = weights[there]
    return np.average(values[there], weights=weights) if weights.sum() > 0 else np.nan


def scores(case):
    targets, predicted, classes = np.array(case["targets"], int), np.array(case["predicted"], int), case["classes"]
    labels, found = list(range(classes)), {}

    def put(name, by_class, by_average):
        for class_, value in enumerate(by_class):
            found[f"{name} {class_}"] = value
        for average in AVERAGES:
            found[f"{name} {average}"] = by_average[average]

    def three(average):
        return metrics.precision_recall_fscore_support(
            targets, predicted, beta=case["beta"], labels=labels, average=average, zero_division=np.nan
        )

    by_class, by_average = three(None), {average: three(average) for average in AVERAGES}
    support = by_class[3]
    for position, name in enumerate(["precision", "recall", "f_beta"]):
        averages = {average: by_average[average][position] for average in AVERAGES}
        # Of values that all have a weight of 0, it is the mean without weights.
        if np.isnan(mean(by_class[position], support)):
            averages["weighted"] = np.nan
        put(name, by_class[position], averages)

    tables = metrics.multilabel_confusion_matrix(targets, predicted, labels=labels)
    negatives = tables[:, 0, 0].sum() + tables[:, 0, 1].sum()
    specificity = [
        metrics.recall_score(targets != label, predicted != label, zero_division=np.nan) for label in labels
    ]
    put("specificity", specificity, {
        "micro": tables[:, 0, 0].sum() / negatives if negatives else np.nan,
        "macro": mean(specificity, np.ones(classes)),
        "weighted": mean(specificity, support),
    })
    jaccard = metrics.jaccard_score(targets, predicted, labels=labels, average=None, zero_division=0)
    jaccard = np.where(tables[:, 1, 0] + tables[:, 1, 1] + tables[:, 0, 1] > 0, jaccard, np.nan)
    put("jaccard", jaccard, {
        "micro": metrics.jaccard_score(targets, predicted, labels=labels, average="micro", zero_division=0),
        "macro": mean(jaccard, np.ones(classes)),
        "weighted": mean(jaccard, support),
    })

    found["accuracy"] = metrics.accuracy_score(targets, predicted)
    found["balanced accuracy"] = metrics.balanced_accuracy_score(targets, predicted)
    one = len(set(targets)) < 2 or len(set(predicted)) < 2
    found["matthews"] = np.nan if one else metrics.matthews_corrcoef(targets, predicted)
    # A sample without a prediction is one of a further class, which has no distance.
    without = classes in predicted
    labels = list(range(classes + without))
    found["kappa"] = metrics.cohen_kappa_score(targets, predicted, labels=labels)
    if not without:
        for weights in ["linear", "quadratic"]:
            found[f"{weights} kappa"] = metrics.cohen_kappa_score(targets, predicted, labels=labels, weights=weights)
    return found


def nothing(case):
    """Nothing is counted, which scikit-learn refuses."""
    names = ["precision", "recall", "f_beta", "specificity", "jaccard"]
    by_class = {f"{name} {of}": np.nan for name in names for of in [*AVERAGES, *range(case["classes"])]}
    return by_class | {name: np.nan for name in ["accuracy", "balanced accuracy", "matthews", "kappa"]}


answers = []
for case in json.load(sys.stdin):
    values = scores(case) if case["targets"] else nothing(case)
    answers.append({name: None if np.isnan(value) else float(value) for name, value in values.items()})
json.dump(answers, sys.stdout)
