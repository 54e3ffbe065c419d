"""Metrics of several classes and of a hierarchy against scikit-learn, torchmetrics, hiclass (types_vectors.json)."""

import dataclasses
import json
import math
import pathlib

import numpy as np
import pytest

from mmdf_jax.metrics import types

VECTORS = json.loads(pathlib.Path(__file__).with_name("types_vectors.json").read_text())
CASES = {case["name"]: case for case in VECTORS["cases"]}
FLAT = [name for name, case in CASES.items() if case["test"] == "multiclass"]
DEEP = [name for name, case in CASES.items() if case["test"] == "hierarchical"]
COLLISION = "hier_label_collision"


def of_case(name):
    inputs = CASES[name]["inputs"]
    return np.array(inputs["y"]), np.array(inputs["scores"]), CASES[name]["expected"]


def close(found, expected, tolerance=1e-11):
    np.testing.assert_allclose(found, np.array(expected, float), atol=tolerance, rtol=0)


def test_all_fourteen_cases_are_here():
    assert len(CASES) == 14 and {*FLAT, *DEEP, COLLISION} == set(CASES)


@pytest.mark.parametrize("name", FLAT)
def test_decisions(name):
    truth, scores, expected = of_case(name)
    called = scores.argmax(1)
    close(called, expected["pred"])
    matrix = types.confusion(truth, called, scores.shape[1])
    close(matrix, expected["confusion_rows_true_cols_pred"])
    for average in ("macro", "weighted", "micro"):
        close(types.precision(matrix, average, every=True), expected[f"precision_{average}_all_labels"])
        close(types.recall(matrix, average, every=True), expected[f"recall_{average}_all_labels"])
        close(types.f1(matrix, average, every=True), expected[f"f1_{average}_all_labels"])
        close(types.f1(matrix, average), expected[f"f1_{average}_default_labels"])
    close(types.class_f1(matrix), expected["f1_per_class"])
    close(types.accuracy(matrix), expected["accuracy"])
    close(types.balanced_accuracy(matrix), expected["balanced_accuracy"])
    close(types.balanced_accuracy(matrix, adjusted=True), expected["balanced_accuracy_adjusted"])
    close(types.mcc(matrix), expected["mcc"])
    close(types.f1(matrix, every=True), expected["torchmetrics_f1_macro"], 1e-6)
    close(types.f1(matrix, "weighted"), expected["torchmetrics_f1_weighted"], 1e-6)
    # torchmetrics counts a class without clips as a recall of 0.
    close(types.recall(matrix, every=True), expected["torchmetrics_recall_macro"], 1e-6)


@pytest.mark.parametrize("name", FLAT)
def test_rankings(name):
    truth, scores, expected = of_case(name)
    close(types.one_vs_rest_aucs(truth, scores), expected["auc_ovr_per_class"])
    # scikit-learn's mean is undefined as soon as one class is, torchmetrics' counts it as 0; ours leaves it out.
    macro = expected.get("auc_ovr_macro_defined_classes_only", expected["auc_ovr_macro"])
    close(types.one_vs_rest_auc(truth, scores), macro)
    close(types.one_vs_rest_auc(truth, scores, "weighted"), expected["auc_ovr_weighted"])
    close(types.one_vs_one_auc(truth, scores), expected["auc_ovo_macro"])


@pytest.mark.parametrize("name", FLAT)
def test_top_k(name):
    truth, scores, expected = of_case(name)
    for k in range(1, scores.shape[1]):
        low, high = (types.top_k(truth, scores, k, ties) for ties in ("pessimistic", "optimistic"))
        close(low, expected[f"top{k}_pessimistic_ties"])
        close(high, expected[f"top{k}_optimistic_ties"])
        # The programs let the order of the classes decide between tied scores.
        for program in ("sklearn", "torchmetrics"):
            assert low - 1e-6 <= expected[f"top{k}_{program}"] <= high + 1e-6


@pytest.mark.parametrize("name", DEEP)
def test_hierarchical(name):
    inputs, expected = CASES[name]["inputs"], CASES[name]["expected"]
    found = types.hierarchical(inputs["true"], inputs["pred"], inputs["parent_of"])
    close([found.precision, found.recall, found.f1], [expected[f"h{x}_micro"] for x in "PRF"])
    close([found.mean_precision, found.mean_recall, found.mean_f1], [expected[f"h{x}_macro"] for x in "PRF"])


def test_hier_label_collision():
    """hiclass takes two nodes of one name for one; here names are those of nodes, so that the two must differ."""
    inputs, expected = CASES[COLLISION]["inputs"], CASES[COLLISION]["expected"]
    parents = {"fake": None, "real": None, "fake/other": "fake", "real/other": "real"}
    true, called = (["/".join(path) for path in inputs[side]] for side in ("true_paths", "pred_paths"))
    close(types.hierarchical(true, called, parents).f1, expected["hF_micro_nodes_by_full_path"])


def test_weights_are_clips_that_come_as_often():
    truth, scores, _ = of_case("five_class_imbalanced_80")
    called = scores.argmax(1)
    weights = np.random.default_rng(0).integers(0, 3, len(truth))
    rows = np.repeat(np.arange(len(truth)), weights)
    close(types.confusion(truth, called, 5, weights), types.confusion(truth[rows], called[rows], 5))
    inputs = CASES["hier_good_with_internal_stops_40"]["inputs"]
    weights, parents = weights[:40], inputs["parent_of"]
    many = [[x for x, times in zip(inputs[k], weights, strict=True) for _ in range(times)] for k in ("true", "pred")]
    weighted = types.hierarchical(inputs["true"], inputs["pred"], parents, weights)
    close(dataclasses.astuple(weighted), dataclasses.astuple(types.hierarchical(*many, parents)))


def test_nothing_is_known_of_no_clips():
    empty = types.confusion(np.zeros(0, int), np.zeros(0, int), 3)
    numbers = [types.accuracy(empty), types.f1(empty), types.balanced_accuracy(empty), types.mcc(empty)]
    numbers += [types.top_k([], np.zeros((0, 3)), 1), types.one_vs_rest_auc([], np.zeros((0, 3)))]
    numbers += [types.one_vs_one_auc([], np.zeros((0, 3))), types.hierarchical([], [], {}).f1]
    assert all(map(math.isnan, numbers))


def test_a_class_that_nobody_has_and_nobody_calls_is_left_out_unless_asked():
    matrix = types.confusion([0, 1], [0, 1], 3)
    assert types.f1(matrix) == 1 and types.f1(matrix, every=True) == pytest.approx(2 / 3)
    assert types.mcc(types.confusion([0, 1], [0, 0], 2)) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: types.confusion([0, 1], [0], 2), r"two lists alike, found \(2,\) and \(1,\)"),
        (lambda: types.confusion([0, -1], [0, 0], 2), "truth must hold classes 0 to 1, found -1 at position 1"),
        (lambda: types.confusion([0], [2], 2), "predicted must hold classes 0 to 1, found 2 at position 0"),
        (lambda: types.confusion([0.5], [0], 2), "truth must hold classes 0 to 1, found 0.5"),
        (lambda: types.one_vs_rest_aucs([0], [[math.nan, 1]]), "scores must be finite, found nan"),
        (lambda: types.top_k([0, 1], [[0.1, 0.2]], 1), r"found shapes \(2,\) and \(1, 2\)"),
        (lambda: types.hierarchical(["a"], ["b"], {"a": None}), "'b' is no node of the hierarchy; known: a"),
        (lambda: types.hierarchical(["a"], ["a"], {"a": "b"}), "'a': 'b' is no node of the hierarchy"),
        (lambda: types.hierarchical(["a"], ["a"], {"a": "b", "b": "a"}), "goes in a circle: a > b > a"),
        (lambda: types.hierarchical(["a"], [], {"a": None}), "two lists alike, found 1 and 0 names"),
    ],
)
def test_hostile_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
