"""A detector whose scores exaggerate the true probabilities."""

import numpy as np


def overconfident(n=4000, temperature=2.5, bias=0.0, seed=0):
    """Labels drawn from the true probabilities, and the scores of a detector that exaggerates them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 1.5
    labels = (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(int)
    return labels, 1 / (1 + np.exp(-temperature * (logits - bias)))
