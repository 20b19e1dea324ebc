"""Measures of text by jiwer, sacrebleu and rouge-score: cases as JSON in, values as JSON out.

The expected numbers of distinct n-grams are those of Python's sets.
"""

import json
import math
import sys

import jiwer
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU


class Words:
    def tokenize(self, text):
        return text.split()


ROUGE = ["rouge1", "rouge2", "rougeL"]
scorer = rouge_scorer.RougeScorer(ROUGE, tokenizer=Words())
smoothed, unsmoothed = (BLEU(tokenize="none", smooth_method=method, force=True) for method in ("exp", "none"))


def rouge(texts, references):
    scores = [scorer.score(reference, text) for text, reference in zip(texts, references)]
    return [math.fsum(score[name].fmeasure for score in scores) / len(scores) if scores else None for name in ROUGE]


def bleu(measure, texts, references):
    if not any(text.split() for text in texts + sum(references, [])):
        return None
    return measure.corpus_score(texts, list(zip(*references))).score / 100


def distinct(texts, n):
    ngrams = [tuple(words[i:i + n]) for words in map(str.split, texts) for i in range(len(words) - n + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else None


answers = []
for case in json.load(sys.stdin):
    texts, references = case["texts"], case["references"]
    first = [references[0] for references in references]
    # jiwer gives the number of insertions if the references are empty.
    has_rate = any(map(str.split, first))
    answers.append({
        "wer": jiwer.wer(first, texts) if has_rate else None,
        "cer": jiwer.cer(first, texts) if has_rate else None,
        "bleu": bleu(smoothed, texts, [[reference] for reference in first]),
        "unsmoothed": bleu(unsmoothed, texts, [[reference] for reference in first]),
        "bleu_of_all": bleu(smoothed, texts, references),
        "rouge": rouge(texts, first),
        "distinct": [distinct(texts, n) for n in (1, 2, 3)],
    })
json.dump(answers, sys.stdout)
