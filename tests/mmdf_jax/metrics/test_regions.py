"""Maps against masks: scikit-learn's, torchmetrics', IMDLBenCo's and TorchRay's numbers (regions_vectors.json)."""

import json
import math
import pathlib

import numpy as np
import pytest

from mmdf_jax.metrics import regions

VECTORS = json.loads(pathlib.Path(__file__).with_name("regions_vectors.json").read_text())
CASES = {case["name"]: case for case in VECTORS["cases"]}
SINGLE = [name for name, case in CASES.items() if case["test"] == "single_map"]
POINTING = [name for name, case in CASES.items() if case["test"] == "pointing_game"]
POOLED = "four_images_pooled_vs_mean"
OVER_THRESHOLDS = ("best_f1", "best_iou", "average_precision")


def picture(name):
    inputs = CASES[name]["inputs"]
    return np.array(inputs["mask"]), np.array(inputs["score"])


def close(found, expected, tolerance=1e-9, message=""):
    np.testing.assert_allclose(found, float(expected), atol=tolerance, rtol=0, err_msg=message)


def test_all_thirteen_cases_are_here():
    assert len(CASES) == 13 and {*SINGLE, *POINTING, POOLED} == set(CASES)


@pytest.mark.parametrize("name", SINGLE)
def test_single_map(name):
    mask, score = picture(name)
    expected = CASES[name]["expected"]
    at_least, above = regions.of_pixels(mask, score), regions.of_pixels(mask, score, np.nextafter(0.5, 1))
    for found, rule in ((at_least, "ge"), (above, "gt")):
        for measure in ("f1", "iou"):
            value = expected[f"{measure}_at_0.5_{rule}"]
            if f"f1_at_0.5_{rule}_textbook" in expected:  # nothing manipulated, nothing called: 0 / 0, not 0
                assert value == 0 and math.isnan(getattr(found, measure))
            else:
                close(getattr(found, measure), value, message=f"{measure} {rule}")
        close(found.accuracy, expected[f"accuracy_at_0.5_{rule}"])
    if not math.isnan(above.f1):  # torchmetrics and IMDLBenCo take scores above the threshold
        for program in ("torchmetrics_{}", "imdlbenco_{}_origin"):
            close(above.f1, expected[program.format("f1")], 1e-6)
            close(above.iou, expected[program.format("iou")], 1e-6)
    close(at_least.auc, expected["auc"])
    if not math.isnan(at_least.auc):  # torchmetrics has 0 where it is undefined
        close(at_least.auc, expected["torchmetrics_auroc"], 1e-6)
    for measure in OVER_THRESHOLDS:
        close(getattr(at_least, measure), expected.get(measure, "nan"), message=measure)
    close(at_least.best_threshold, expected.get("best_f1_threshold_ge", "nan"))


@pytest.mark.parametrize(
    "name", [name for name in SINGLE if isinstance(CASES[name]["expected"]["imdlbenco_auc_origin"], float)]
)
def test_auc_of_imdlbenco_where_no_scores_tie(name):
    mask, score = picture(name)
    expected = CASES[name]["expected"]
    if not mask.any():
        # Without manipulated pixels the AUC is undefined, not 0.
        assert expected["imdlbenco_auc_origin"] == 0 and math.isnan(regions.of_pixels(mask, score).auc)
        return
    close(regions.of_pixels(mask, score).auc, expected["imdlbenco_auc_origin"], 1e-6)
    close(regions.of_pixels(mask, -score).auc, expected["imdlbenco_auc_reverse"], 1e-6)


def test_four_images_pooled_vs_mean():
    pictures = [picture(name) for name in CASES[POOLED]["inputs"]["single_map_cases"]]
    masks, maps = zip(*pictures, strict=True)
    expected = CASES[POOLED]["expected"]
    whole, mean = regions.pooled(masks, maps), regions.mean(masks, maps)
    for found, values in ((whole, expected["pooled_pixels"]), (mean, expected["mean_over_manipulated_images"])):
        close(found.f1, values["f1_at_0.5_ge"])
        close(found.iou, values["iou_at_0.5_ge"])
        close(found.auc, values["auc"])
        close(found.average_precision, values["average_precision"])
        close(found.best_f1, values["best_f1"])
    close(whole.accuracy, expected["pooled_pixels"]["accuracy_at_0.5_ge"])
    close(whole.best_iou, expected["pooled_pixels"]["best_iou"])
    close(whole.best_threshold, expected["pooled_pixels"]["best_f1_threshold_ge"])
    threshold, f1 = regions.common_threshold(masks, maps)
    close(threshold, expected["best_common_threshold_ge"])
    close(f1, expected["mean_f1_at_best_common_threshold"])
    close(regions.mean(masks, maps, threshold).f1, f1)


@pytest.mark.parametrize("name", POINTING)
def test_pointing_game(name):
    maps, expected = CASES[name]["inputs"]["maps"], CASES[name]["expected"]
    shares = []
    for one, values in zip(maps, expected["per_map"], strict=True):
        mask, score = np.array(one["mask"]), np.array(one["score"])
        share = regions.pointing_game(mask, score)
        if not mask.any():  # there is nothing to point to; the programs count a miss
            assert values["distance_to_mask"] == "Infinity" and math.isnan(share)
            shares.append(0.0)
            continue
        shares.append(share)
        close(share, values["hit_fraction_over_tied_maxima"])
        assert regions.pointing_game(mask, score, ties="first") == values["strict_hit_in_mask"]
        for tolerance in (1, 2, 3, 15):  # TorchRay takes distances below its tolerance
            hit = regions.pointing_game(mask, score, within=np.nextafter(tolerance, 0), ties="first")
            assert hit == (values[f"torchray_tol{tolerance}"] == 1)
    close(np.mean(shares), expected["accuracy_expected_over_ties"])


def test_no_fixed_threshold_is_better_than_the_best():
    rng = np.random.default_rng(0)
    mask, score = rng.uniform(size=(12, 12)) < 0.2, rng.uniform(size=(12, 12)).round(2)
    best = regions.of_pixels(mask, score)
    every = [regions.of_pixels(mask, score, threshold) for threshold in np.linspace(0, 1, 101)]
    assert best.best_f1 == pytest.approx(max(found.f1 for found in every))
    assert best.best_iou == pytest.approx(max(found.iou for found in every))
    assert best.best_iou == pytest.approx(best.best_f1 / (2 - best.best_f1))


def test_nothing_is_known_without_manipulated_pixels():
    masks, maps = [np.zeros((2, 2))], [np.zeros((2, 2))]
    assert math.isnan(regions.mean(masks, maps).f1) and math.isnan(regions.mean([], []).auc)
    assert math.isnan(regions.pooled([], []).f1) and math.isnan(regions.common_threshold(masks, maps)[0])
    whole = regions.mean([np.ones((2, 2)), np.eye(2)], [np.ones((2, 2)), np.eye(2)])
    assert whole.f1 == whole.auc == 1  # the AUC is that of the second picture alone


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: regions.of_pixels(np.zeros((2, 2)), np.zeros((4, 4))), r"found \(2, 2\) and \(4, 4\): resize one"),
        (lambda: regions.of_pixels([[0, 2]], [[0, 1]]), "the mask must hold 0 and 1, found 2"),
        (lambda: regions.of_pixels([[0, 1]], [[0, math.nan]]), "the map must be finite, found nan"),
        (lambda: regions.pooled([[[0]]], []), "a map of each mask, found 1 masks and 0 maps"),
    ],
)
def test_hostile_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
