"""Spoofing metrics against the ASVspoof 2021 and ASVspoof 5 packages (spoofing_vectors.json).

Their scores are high for bona fide speech and the project's for fakes: all are turned here. Cllr, and the costs in the
other polarity, are in test_likelihood.py. The a-DCF and the t-EER of ASVspoof 5 judge a verification system that
flags fakes itself: the project has none, and does not offer them.
"""

import json
import math
import pathlib

import numpy as np
import pytest

from mmdf_jax.metrics import spoofing
from mmdf_jax.metrics.classification import eer
from mmdf_jax.metrics.likelihood import least_decision_cost
from mmdf_jax.metrics.spoofing import AsvRates

CASES = json.loads(pathlib.Path(__file__).with_name("spoofing_vectors.json").read_text())["cases"]
# The rates that ASVspoof 5 gives to those who have no verification system of their own.
ASVSPOOF5 = AsvRates(miss=0.01880141010575793, false_alarm=0.01881016557566423, spoof_false_alarm=0.4607082907604729)


def cases(of_two_systems):
    return [
        pytest.param(case["inputs"], case["expected"], id=case["name"])
        for case in CASES
        if ("asv_key" in case["inputs"]) == of_two_systems
    ]


def turned(inputs):
    labels = np.repeat([0, 1], [len(inputs["bonafide"]), len(inputs["spoof"])])
    return labels, -np.array([*inputs["bonafide"], *inputs["spoof"]])


def asv(inputs):
    return AsvRates(inputs["Pmiss_asv"], inputs["Pfa_asv"], inputs["Pfa_spoof_asv"])


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("inputs, expected", cases(False))
def test_eer(inputs, expected):
    labels, scores = turned(inputs)
    close(eer(labels, scores), expected["eer_interpolated_ties_grouped"])
    # The official one steps through tied clips one by one and interpolates nothing, so it lies above or below.
    found = spoofing.official_eer(labels, scores)
    close(found.rate, expected["eer_2021"])
    close(found.threshold, -expected["eer_threshold_2021"])
    # The EER of the convex hull takes the best mixture of two thresholds: the worst Bayes error over all priors.
    priors = np.linspace(0.001, 0.999, 999)
    hull = max(min(p, 1 - p) * least_decision_cost(labels, scores, p) for p in priors)
    assert expected["eer_rocch"] - 0.002 < hull <= expected["eer_rocch"] + 1e-11
    assert expected["eer_rocch"] <= expected["eer_interpolated_ties_grouped"] + 1e-11


@pytest.mark.parametrize("inputs, expected", cases(False))
def test_min_tdcf(inputs, expected):
    labels, scores = turned(inputs)
    for year, name in ((2019, "min_tdcf_2019_legacy"), (2021, "min_tdcf_2021")):
        found = spoofing.min_tdcf(labels, scores, asv(inputs), year)
        if isinstance(expected[name], str):
            # The package leaves the process when there are fewer than three distinct scores. The definition has no
            # such limit: two blind decisions and the one threshold between.
            assert len(set(scores)) == 2
            at = [spoofing.tdcf(labels, scores, threshold, asv(inputs), year) for threshold in (-2, -0.5, 0.5)]
            close(found, min(at))
            continue
        close(found, expected[name])
        # The package flags scores up to its threshold; the turned threshold flags the same clips from there up.
        close(spoofing.tdcf(labels, scores, -expected[f"{name}_threshold"], asv(inputs), year), found)
        shuffled = np.random.default_rng(0).permutation(len(labels))  # its order of ties does not matter here
        close(spoofing.min_tdcf(labels[shuffled], scores[shuffled], asv(inputs), year), found)


@pytest.mark.parametrize("inputs, expected", cases(False))
def test_detection_costs(inputs, expected):
    labels, llr = turned(inputs)
    close(spoofing.min_dcf(labels, llr), expected["min_dcf_asvspoof5"])
    close(spoofing.act_dcf(labels, llr), expected["act_dcf_asvspoof5"])


@pytest.mark.parametrize("inputs, expected", cases(True))
def test_two_systems(inputs, expected):
    kind, asv_scores = np.array(inputs["asv_key"]), np.array(inputs["asv_score"])
    rates = spoofing.asv_rates(*(asv_scores[kind == letter] for letter in "tns"))
    close(rates, [expected[key] for key in ("Pmiss_asv", "Pfa_asv", "Pfa_spoof_asv")])
    close(1 - rates.spoof_false_alarm, expected["Pmiss_spoof_asv"])
    speakers = kind != "s"
    official = spoofing.official_eer(kind[speakers] == "n", -asv_scores[speakers])
    close([official.rate, -official.threshold], [expected["asv_eer"], expected["asv_eer_threshold"]])
    found = spoofing.min_tdcf(kind == "s", -np.array(inputs["cm_score"]), ASVSPOOF5)
    close(found, expected["min_tdcf_asvspoof5_default_asv_rates"])


def test_tdcf_of_a_perfect_and_of_a_blind_countermeasure():
    labels, scores, rates = [0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], AsvRates(0.03, 0.025, 0.45)
    assert spoofing.tdcf(labels, scores, 0.5, rates, 2019) == 0
    assert 0 < spoofing.tdcf(labels, scores, 0.5, rates) < 1  # the verification's own mistakes remain
    assert spoofing.tdcf(labels, scores, 2.0, rates) == pytest.approx(1)  # nothing flagged: the better blind decision
    assert spoofing.tdcf(labels, scores, 0.0, rates) > 1
    assert spoofing.min_tdcf(labels, scores, rates) == spoofing.tdcf(labels, scores, 0.5, rates)


def test_undefined_is_nan_and_bad_input_is_refused():
    rates = AsvRates(0.03, 0.025, 0.45)
    assert math.isnan(spoofing.official_eer([1, 1], [0.1, 0.2]).rate)
    assert math.isnan(spoofing.min_tdcf([1, 1], [0.1, 0.2], rates))
    assert math.isnan(spoofing.min_dcf([0, 0], [0.1, 0.2]))
    with pytest.raises(ValueError, match="year must be 2019 or 2021, found 2020"):
        spoofing.min_tdcf([0, 1], [0.1, 0.2], rates, 2020)
    with pytest.raises(ValueError, match="worth running and that fakes can fool, found AsvRates"):
        spoofing.min_tdcf([0, 1], [0.1, 0.2], AsvRates(0.03, 0.025, 0.0))
    with pytest.raises(ValueError, match="target, nontarget and spoof trials, found 1, 0 and 1"):
        spoofing.asv_rates([1.0], [], [0.0])
    for trials in ([1.0], [math.nan], [0.0]), ([1.0], [0.0], [math.nan]):
        with pytest.raises(ValueError, match="finite"):
            spoofing.asv_rates(*trials)
