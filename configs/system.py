"""11 The integrated system: detectors of any kind, chosen among, combined, calibrated, and able to abstain.

    python -m experiments.main --config=configs/system.py
    python -m experiments.main --config=configs/system.py --config.members='{"a": {"run": "A"}, "b": {"scores": "B"}}'

Members are trained runs, folders of score tables (val.csv, test.csv) of anybody's detector, or configs to train; the
first command trains five. Then nothing but score tables is read, which takes seconds. On validation alone it compares
ways to choose members and to combine them, each scored by nested cross-validation over identities. It calibrates the
best and writes `system.json`: members by digest, weights, calibration, thresholds, error rates and their data.

Arguments: data=talking_heads|folder|<reader>, size=tiny|base.
"""

from ml_collections import ConfigDict

from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The experiment as plain data."""
    args = common.parse_args(arg, data="talking_heads", size="tiny")
    config = ConfigDict()
    config.producer = ConfigDict({"name": "experiments.producers.system"})

    # {name: {"run": a trained run}, {"scores": a folder of score tables} or {"config": a config to train}}. A run and a
    # folder may name "column": default score, and "label": the column of the label that it answers for. "compares":
    # True for a detector that compares streams. Tables from outside may state their cost, "ms" and "parameters_m".
    extra = f"size={args.size},data={args.data}" + (",pseudo_fakes=true" if args.pseudo_fakes else "")
    config.members = ConfigDict(
        {
            "image": {"config": f"configs/image.py:encoder=efficientnet,{extra}"},
            "audio": {"config": f"configs/audio.py:encoder=spectrogram_cnn,{extra}"},
            "video": {"config": f"configs/video.py:encoder=temporal_difference,{extra}"},
            "sync": {"config": f"configs/lip_sync.py:{extra}", "compares": True},
            "cross_attn": {"config": f"configs/cross_attn.py:{extra}"},
        }
    )
    # Settings that every member to train has in place of its own.
    config.override = ConfigDict({"seed": 0, "data": {"root": "", "manifest": "", "out": ""}})

    # What becomes of a clip that a member's table lacks: "present": the others answer for it; "exclude": it is left
    # out of everything; "as_real", "as_fake", "as_chance": the member is taken to have said 0, 1 or 0.5. A clip that a
    # table has, but without a score, was abstained from: the others answer for it.
    config.missing = "present"

    # Ways to choose members: the best single one, a greedy forward selection, the best under the budget, all of them.
    config.selections = ("single", "greedy", "budget", "all")
    # Of {"ms": per clip} or of {"parameters_m": millions}; without either there is no selection `budget`.
    config.budget = ConfigDict({"ms": 0.0, "parameters_m": 0.0})
    # Ways to combine them: the mean of calibrated logits, a weighted mean of probabilities, P(any is fake), stacking.
    config.ensembles = ("log_pool", "weighted", "noisy_or", "stacking")

    # Of each class, among clips of new people, that a verdict may get wrong; between the thresholds it abstains. It
    # takes 1 / error - 1 people on validation to promise it.
    config.error = 0.2 if args.size == "tiny" else 0.1
    config.evaluate = ConfigDict({"bootstrap": 2_000})
    return config
