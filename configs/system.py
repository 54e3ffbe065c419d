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
    config = common.fusion(args)  # what a member may be is told there
    config.producer = ConfigDict({"name": "experiments.producers.system"})
    config.members.cross_attn = common.to_train("configs/cross_attn.py:", args)

    # What becomes of a clip that a member's table lacks. "present": the other members answer for it. "exclude": it is
    # left out of everything. "as_real", "as_fake", "as_chance": the member is taken to have said 0, 1 or 0.5. A clip
    # that stands in a table without a score was abstained from: the other members answer for it.
    config.missing = "present"

    # Ways to choose members: the best single one, a greedy forward selection, the best set under the budget, all of
    # them. Each is scored by nested cross-validation, which needs reals and fakes of three people each on validation.
    config.selections = ("single", "greedy", "budget", "all")
    # The most that the members of the selection `budget` may cost together: {"ms": a clip} or {"parameters_m":
    # millions}. 0 is no limit; without a limit there is no selection `budget`.
    config.budget = ConfigDict({"ms": 0.0, "parameters_m": 0.0})
    # Ways to combine them: the mean of calibrated logits, a weighted mean of probabilities, P(any is fake), stacking.
    config.ensembles = ("log_pool", "weighted", "noisy_or", "stacking")

    # The share of each class, among clips of new people, that a verdict may get wrong. Between the two thresholds it
    # abstains. To promise this rate, validation needs 1 / error - 1 people of each class.
    config.error = 0.2 if args.size == "tiny" else 0.1
    return config
