"""Perplexity and the accuracy of tokens by scikit-learn: cases as JSON in, values as JSON out."""

import json
import math
import sys

from sklearn import metrics

answers = []
for case in json.load(sys.stdin):
    targets, predicted, likelihoods = case["targets"], case["predicted"], case["likelihoods"]
    counts = [target != case["ignored"] for target in targets]
    accuracy = metrics.accuracy_score(targets, predicted, sample_weight=counts) if any(counts) else None
    # The likelihood of each target as that of the first of two classes.
    both = [[1 - likelihood, likelihood] for likelihood in likelihoods]
    loss = metrics.log_loss([1] * len(both), both, labels=[0, 1]) if both else None
    answers.append({
        "accuracy": accuracy if accuracy is None else float(accuracy),
        "perplexity": loss if loss is None else math.exp(loss),
    })
json.dump(answers, sys.stdout)
