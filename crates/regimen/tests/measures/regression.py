"""Measures of predicted numbers by scikit-learn and scipy: cases as JSON in, values as JSON out."""

import json
import sys

from scipy import stats
from sklearn import metrics

answers = []
for case in json.load(sys.stdin):
    targets, predictions = case["targets"], case["predictions"]
    # Both packages give 0, 1 or NaN where the targets, or the predictions for a correlation, do not vary.
    has_variance = len(set(targets)) > 1
    has_correlation = has_variance and len(set(predictions)) > 1
    score = lambda function, has_value: float(function(targets, predictions)) if has_value else None
    answers.append({
        "mse": score(metrics.mean_squared_error, targets),
        "rmse": score(metrics.root_mean_squared_error, targets),
        "mae": score(metrics.mean_absolute_error, targets),
        "mape": score(metrics.mean_absolute_percentage_error, targets),
        "r2": score(metrics.r2_score, has_variance),
        "explained_variance": score(metrics.explained_variance_score, has_variance),
        "pearson": score(lambda a, b: stats.pearsonr(a, b).statistic, has_correlation),
        "spearman": score(lambda a, b: stats.spearmanr(a, b).statistic, has_correlation),
    })
json.dump(answers, sys.stdout)
