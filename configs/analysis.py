"""12 The analysis: which comparisons a study makes, declared before anything is computed.

    python -m experiments.analyze --workdir=study
    python -m experiments.analyze --workdir=study --tables=mine=my/tables

A family of claims answers one question, and Holm's correction is over the family. A claim says that one detector is
better than another. A side names detectors of the study, by its runs without their seed, or of `--tables`; of several
the one that is best on validation, on the family's clips, is taken. What is compared besides, all pairs, is marked as
exploratory. `--config=FILE` takes the claims from another file like this one.
"""

from ml_collections import ConfigDict

from configs import common

IMAGE = ("image-clip", "image-dinov2", "image-convnext", "image-efficientnet")
AUDIO = ("audio-wav2vec2", "audio-hubert", "audio-spectrogram_cnn")
VIDEO = ("video-resnet3d", "video-cnn_lstm", "video-temporal_difference")
SINGLE = (*IMAGE, *AUDIO, *VIDEO, "temporal_consistency")
FUSIONS = ("early_fusion", "late_fusion", "cross_attn", "contrastive", "hierarchical", "system")
DUBBING = ("dubbing", "dubbing_other_voice")


def side(*detectors: str, column: str = "score", called: str = "") -> dict[str, object]:
    """One side of a claim: the detector, or the best of these on validation, by a column of its score table.

    called: what the report calls it; a column other than the score needs it.
    """
    return {"of": detectors, "column": column, "called": called}


def claims(better: tuple[str, ...], than: dict[str, object]) -> tuple[dict[str, object], ...]:
    """A claim for each of `better`."""
    return tuple({"better": side(name), "than": than} for name in better)


def get_config(arg: str | None = None) -> ConfigDict:
    """The declared comparisons as plain data."""
    if arg:
        raise common.UnknownArgumentError(f"config argument {arg!r}: this config has none")
    config = ConfigDict()
    # Of each family: its name, the question, the label that all are judged by, methods (fakes of these against all
    # reals; () is all fakes), the metric (auc, or brier, where less is better) and the claims.
    config.families = (
        {
            "name": "fusion",
            "question": "Which fusion beats the best detector of a single stream?",
            "label": "label",
            "methods": (),
            "metric": "auc",
            "claims": claims(FUSIONS, side(*SINGLE)),
        },
        {
            "name": "joint",
            "question": "Does training on all streams at once beat fusing the scores of detectors trained apart?",
            "label": "label",
            "methods": (),
            "metric": "auc",
            "claims": claims(("early_fusion", "cross_attn", "contrastive", "hierarchical"), side("late_fusion")),
        },
        {
            "name": "dubbing",
            "question": "What does comparing lips and sound add where both are real but do not belong together?",
            "label": "label",
            "methods": DUBBING,
            "metric": "auc",
            "claims": (
                *claims(("lip_sync", "late_fusion", "cross_attn", "contrastive", "system"), side(*SINGLE)),
                *claims(("cross_attn",), side("early_fusion")),
            ),
        },
        {
            "name": "time",
            "question": "What does time add to single pictures, judged by whether the picture is fake?",
            "label": "video_label",
            "methods": (),
            "metric": "auc",
            "claims": (
                *claims(("temporal_consistency",), side(*IMAGE)),
                {"better": side(*VIDEO), "than": side(*IMAGE)},
            ),
        },
        {
            "name": "system",
            "question": "What do choosing and combining add, beyond one detector and beyond all of them?",
            "label": "label",
            "methods": (),
            "metric": "auc",
            "claims": (
                {
                    "better": side("system"),
                    "than": side("system", column="fused_single", called="its best member alone"),
                },
                {
                    "better": side("system"),
                    "than": side("system", column="fused_all_log_pool", called="all its members, averaged"),
                },
            ),
        },
        {
            "name": "calibration",
            "question": "What does calibration add: are the probabilities nearer to the truth (Brier score)?",
            "label": "label",
            "methods": (),
            "metric": "brier",
            "claims": (
                {"better": side("system"), "than": side("system", column="uncalibrated", called="itself uncalibrated")},
                {"better": side("system"), "than": side(*SINGLE)},
                {"better": side("system"), "than": side("cross_attn")},
            ),
        },
    )
    # Differences up to these count as none in practice: the region of practical equivalence (ROPE) of each metric.
    config.rope = ConfigDict({"auc": 0.01, "brier": 0.005})
    config.alpha = 0.05
    config.power = 0.8  # at which the smallest difference that could have been shown is stated
    # What a clip counts as that a detector has no score of: exclude, as_real, as_fake or as_chance.
    config.missing = "exclude"
    config.bootstrap = 2_000
    config.least_datasets = 5  # for a comparison of ranks over datasets
    config.gallery = 12  # clips that each part of the failure gallery shows
    config.pictures = True  # also as pictures, where the records are on this machine; the page then shows faces
    return config
