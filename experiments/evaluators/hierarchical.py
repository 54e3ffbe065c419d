"""Fake or not, which type, and where: the report on the score tables of mmdf_jax.tasks.hierarchical."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.evaluators import classification
from experiments.figures import confusion, precision_recall, roc, span_length
from experiments.report import terminal
from experiments.report.terminal import number, with_interval
from experiments.score_table import ScoreRow, Table, curve
from experiments.score_table import segments as segments_of
from mmdf_jax.metrics import classification as binary
from mmdf_jax.metrics import localisation, types
from mmdf_jax.stats.bootstrap import Interval, interval_of_weights
from mmdf_jax.tasks.hierarchical import BINS, CUES, MAPS, SIDES, macro_f1, true_spans, type_index

IOUS = (0.5, 0.75, 0.9, 0.95)
COUNTS = localisation.COUNTS
OWN = "hierarchical"
SYSTEMS = (OWN, "flat softmax", "three labels")
MAP_NAMES = {"map": "trained map", "cam": "Grad-CAM of stage 1"}
UNKNOWN = "unknown type"
ALL, PARTIAL, WHOLE = "all fakes", "partial fakes", "whole fakes"
NAN = Interval(math.nan, math.nan, math.nan, 0, 0)
TYPE_COLUMNS = (
    *("System", "Clips", "Macro-F1", "Macro-F1 low", "Macro-F1 high", "Type accuracy"),
    *("Hierarchical precision", "Hierarchical recall", "Hierarchical F1", "Fakes called unknown"),
)
SEGMENT_COLUMNS = (
    *("Fakes", "Clips", "Segments"),
    *(name for iou in IOUS[:2] for name in (f"AP@{iou:g}", f"AP@{iou:g} low", f"AP@{iou:g} high")),
    *(f"AP@{iou:g}" for iou in IOUS[2:]),
    *(f"AR@{count}" for count in COUNTS),
    *("Frame AUC", "Frame AUC low", "Frame AUC high", "Frame AUC pooled"),
)
REGION_COLUMNS = (
    *("Map", "Clips", "Pixel AUC", "Pixel AUC low", "Pixel AUC high", "IoU", "Threshold"),
    *("Pointing game", "Pointing game low", "Pointing game high", "Highest cell of real frames"),
)


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Reports on the columns that `mmdf_jax.tasks.hierarchical.Task.finish` describes.

    vocabulary: the types, each a list of the methods that are one, `real` first. unknown: a fake none of whose types
    has so large a share of p(fake) is answered as of an unknown type.
    Thresholds, and which type the three labels mean, come from validation. Clips whose method is in no type are counted
    and stand in no measure of types.
    """

    vocabulary: Sequence[Sequence[str]]
    unknown: float = 0.4

    headline = ("AUC", "Macro-F1", "AP@0.5", "AP@0.75", "Frame AUC", "Pixel AUC", "Pointing game")
    averaged = ("Accuracy", "Hierarchical F1", "IoU", "Threshold")

    @property
    def types(self) -> list[str]:
        return [entry[0] for entry in self.vocabulary]

    def results(self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], *, samples: int) -> dict[str, Any]:
        """The quality columns of results.csv.

        Raises:
          ValueError: the table lacks the columns of a hierarchical run, or one has other types.
        """
        for row in (*val, *test):
            if row.ok:
                self._check(row)
        first = classification.summarise(val, test, samples=samples)
        own = self._types(val, test, samples)[0] if test else {}
        segments = _segments(ALL, _seen(test), samples)
        partial = _segments(PARTIAL, [row for row in _seen(test) if row.label == 0 or _is_partial(row)], samples)
        places = _regions(val, test, samples)
        with_limits = [f"{name}{end}" for name in ("Pixel AUC", "Pointing game") for end in ("", " low", " high")]
        blank = dict.fromkeys((*with_limits, "IoU"), math.nan)
        return {
            **first,
            **{name: own.get(name, math.nan) for name in TYPE_COLUMNS[2:9]},
            **{name: segments[name] for name in SEGMENT_COLUMNS[3:-4]},
            **{name: partial[name] for name in SEGMENT_COLUMNS[-4:]},
            **({name: places[0][name] for name in blank} if places else blank),
            "Types unknown": sum(self._truth(row) < 0 for row in _seen(test)),
        }

    def _check(self, row: ScoreRow) -> None:
        wanted = ["segments", *(f"type_{name}" for name in self.types)]
        if missing := [name for name in wanted if name not in row.extra]:
            raise ValueError(
                f"the score table has no column {missing[0]!r}: expected that of a hierarchical run whose types are "
                f"{', '.join(self.types)}"
            )

    # ------------------------------------------------------------------------------------------------- types

    def _truth(self, row: ScoreRow) -> int:
        return type_index(self.vocabulary, row.method, row.label)

    def _types(self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], samples: int) -> list[dict[str, Any]]:
        """A row of TYPE_COLUMNS for each of SYSTEMS, with the `matrix` of its answers too."""
        rows = [row for row in _seen(test) if self._truth(row) >= 0]
        truths, classes = np.array([self._truth(row) for row in rows], int), len(self.types) + 1
        names = [*self.types, "fake"]  # an unknown type's answer is: a fake
        parents = {name: None if name in ("real", "fake") else "fake" for name in names}
        found = []
        for system, answers in self._answers(_seen(val), rows).items():

            def macro(weights: np.ndarray, answers: np.ndarray = answers) -> float:
                return macro_f1(types.confusion(truths, answers, classes, weights))

            f1 = _over_people(macro, rows, samples)
            matrix = types.confusion(truths, answers, classes)
            tree = types.hierarchical([names[i] for i in truths], [names[i] for i in answers], parents)
            fakes = matrix[1:]
            found.append(
                {
                    "System": system,
                    "Clips": len(rows),
                    "Macro-F1": f1.value,
                    "Macro-F1 low": f1.low,
                    "Macro-F1 high": f1.high,
                    "Type accuracy": types.accuracy(matrix),
                    "Hierarchical precision": tree.precision,
                    "Hierarchical recall": tree.recall,
                    "Hierarchical F1": tree.f1,
                    "Fakes called unknown": float(fakes[:, -1].sum() / fakes.sum()) if fakes.sum() else math.nan,
                    "matrix": matrix,
                }
            )
        return found

    def _answers(self, val: Sequence[ScoreRow], rows: Sequence[ScoreRow]) -> dict[str, np.ndarray]:
        """{system: [n] indices of types, the last for an unknown one}."""
        found = {}
        for system, prefix in zip(SYSTEMS[:2], ("type", "flat"), strict=True):
            fake = [1 - _number(row, f"{prefix}_real") for row in val]
            threshold = binary.threshold_for([row.label for row in val], fake)
            parts = np.array([[_number(row, f"{prefix}_{name}") for name in self.types] for row in rows])
            parts = parts.reshape(len(rows), len(self.types))
            called = 1 - parts[:, 0] >= (0.5 if math.isnan(threshold) else threshold)
            shares = parts[:, 1:] / np.maximum(1 - parts[:, :1], 1e-9)
            kind = 1 + shares.argmax(1) if len(rows) else np.zeros(0, int)
            sure = shares.max(1, initial=0.0) >= self.unknown
            found[system] = np.where(called, np.where(sure, kind, len(self.types)), 0)
        found[SYSTEMS[2]] = self._of_three_labels(val, rows)
        return found

    def _of_three_labels(self, val: Sequence[ScoreRow], rows: Sequence[ScoreRow]) -> np.ndarray:
        """Each combination of cues means the type that has it most often on validation."""
        thresholds = []
        for cue in CUES:
            known = [(_cue_label(row, cue), _number(row, f"cue_{cue}")) for row in val]
            known = [(label, score) for label, score in known if label >= 0]
            fitted = binary.threshold_for(*zip(*known, strict=True)) if known else math.nan
            thresholds.append(0.5 if math.isnan(fitted) else fitted)

        def pattern(row: ScoreRow) -> tuple[bool, ...]:
            return tuple(_number(row, f"cue_{c}") >= least for c, least in zip(CUES, thresholds, strict=True))

        votes: dict[tuple[bool, ...], np.ndarray] = {}
        for row in val:
            if (truth := self._truth(row)) >= 0:
                votes.setdefault(pattern(row), np.zeros(len(self.types)))[truth] += 1
        means = {cues: int(counts.argmax()) for cues, counts in votes.items()}
        return np.array([means.get(pattern(row), len(self.types)) for row in rows], int)

    # ------------------------------------------------------------------------------------------------ report

    def tables(
        self, val: Sequence[ScoreRow], test: Sequence[ScoreRow], row: Mapping[str, Any], *, samples: int
    ) -> dict[str, Table]:
        """`methods`: stage 1 per method; `types`: each system; `confusion`; `segments`: per group; `regions`."""
        systems = self._types(val, test, samples)
        answers = ["Type", *self.types, UNKNOWN]
        matrix = [
            {"Type": name, **dict(zip(answers[1:], counts, strict=True))}
            for name, counts in zip(self.types, systems[0]["matrix"].astype(int).tolist(), strict=False)
        ]
        groups = [_segments(name, rows, samples) for name, rows in _groups(_seen(test)).items()]
        return {
            "methods": Table(
                classification.METHOD_COLUMNS, classification.per_method(test, row["Threshold"], samples=samples)
            ),
            "types": Table(TYPE_COLUMNS, [{name: each[name] for name in TYPE_COLUMNS} for each in systems]),
            "confusion": Table(answers, matrix),
            "segments": Table(SEGMENT_COLUMNS, groups),
            "regions": Table(REGION_COLUMNS, _regions(val, test, samples)),
        }

    def figures(
        self,
        test: Sequence[ScoreRow],
        row: Mapping[str, Any],
        tables: Mapping[str, Table],
        *,
        title: str,
        samples: int,
    ) -> dict[str, Figure]:
        """ROC of stage 1, the types' confusion, precision against recall of the segments, and recall by length."""
        seen, rows = classification.Scored.of(test), _seen(test)
        localised = _proposals(rows), [true_spans(one) for one in rows], [one.group for one in rows]
        table = tables["confusion"]
        matrix = [[line[answer] for answer in table.columns[1:]] for line in table.rows]
        matrix.append([0] * (len(self.types) + 1))  # no clip is of the unknown type: it is an answer alone
        return {
            "roc": roc.draw(
                seen.labels, seen.scores, seen.groups, threshold=row["Threshold"], title=f"{title}ROC", samples=samples
            ),
            "confusion": confusion.draw_types(
                np.array(matrix), table.columns[1:], abstained=seen.abstained, title=f"{title}types"
            ),
            "precision_recall": precision_recall.draw(*localised, ious=IOUS, title=f"{title}segments", samples=samples),
            "span_length": span_length.draw(*localised, title=f"{title}spans found by length", samples=samples),
        }

    def text(self, row: Mapping[str, Any], tables: Mapping[str, Table], scored: str) -> list[str]:
        """The lines of the terminal's report; scored: what was scored, for the title."""
        lines = terminal.heading(row, f"{scored}: {row['Clips']} clips of {row['Identities']} identities")
        if row["Abstained"]:
            lines.append(f"Abstained from {row['Abstained']} more: they have no score and stand in no number below.")
        if row["Types unknown"]:
            lines.append(
                f"{row['Types unknown']} clips are of a method that is in no type: answered as {UNKNOWN} or as one of "
                "the types, they stand in no measure of types."
            )
        auc = with_interval(row["AUC"], row["AUC low"], row["AUC high"])
        lines += terminal.cells(
            ("stage 1: AUC", auc), ("accuracy", number(row["Accuracy"])), ("threshold", number(row["Threshold"]))
        )
        lines += [*terminal.costs(row), "", *_type_lines(tables["types"].rows), "", *_segment_lines(tables)]
        return [*lines, "", *_region_lines(tables["regions"].rows)] if tables["regions"].rows else lines

    def pooled(self, tables: Sequence[Sequence[ScoreRow]]) -> list[ScoreRow]:
        """One table of several folds': probabilities and segments' scores are taken as they are."""
        return [row for table in tables for row in table]


def _seen(rows: Sequence[ScoreRow]) -> list[ScoreRow]:
    return [row for row in rows if row.ok and row.scored]


def _number(row: ScoreRow, name: str) -> float:
    return float(row.extra.get(name, math.nan))


def _is_partial(row: ScoreRow) -> bool:
    return row.label == 1 and row.extra.get("partial") == 1


def _cue_label(row: ScoreRow, cue: str) -> int:
    if cue != "sync":
        return getattr(row, f"{cue}_label")
    if row.label == 1 and row.video_label == row.audio_label == 0:
        return 1
    return 0 if row.label == 0 else -1


def _over_people(
    metric: Callable[[np.ndarray], float],
    rows: Sequence[ScoreRow],
    samples: int,
    rarer: np.ndarray | None = None,
) -> Interval:
    """The metric of weights [n], how often each row counts, with its interval over identities."""
    groups = [row.group for row in rows]
    return interval_of_weights(metric, groups, rarer=rarer, samples=samples) if rows else NAN


def _proposals(rows: Sequence[ScoreRow]) -> list[np.ndarray]:
    return [segments_of(row).reshape(-1, 3) for row in rows]


def _groups(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Fakes of a kind, each with all the reals."""
    reals, fakes = ([row for row in rows if row.label == label] for label in (0, 1))
    groups = {ALL: fakes, PARTIAL: [row for row in fakes if _is_partial(row)]}
    groups[WHOLE] = [row for row in fakes if not _is_partial(row)]
    for method in sorted({classification.method_of(row) for row in fakes}):
        groups[f"partial {method}"] = [row for row in groups[PARTIAL] if classification.method_of(row) == method]
    return {name: [*some, *reals] for name, some in groups.items() if some}


def _segments(name: str, rows: Sequence[ScoreRow], samples: int) -> dict[str, Any]:
    """A row of SEGMENT_COLUMNS; the frame AUCs are of the partial fakes among the rows."""
    proposals, truths = _proposals(rows), [true_spans(row) for row in rows]
    out: dict[str, Any] = {
        "Fakes": name,
        "Clips": sum(row.label == 1 for row in rows),
        "Segments": sum(map(len, truths)),
    }
    for i, iou in enumerate(IOUS):
        matches = localisation.match(proposals, truths, iou)
        average = functools.partial(localisation.average_precision_of, matches)
        found = _over_people(average, rows, samples if i < 2 else 0, rarer=matches.truths > 0)
        out[f"AP@{iou:g}"] = found.value
        if i < 2:
            out |= {f"AP@{iou:g} low": found.low, f"AP@{iou:g} high": found.high}
    recalls = localisation.average_recall(proposals, truths, COUNTS)
    out |= {f"AR@{count}": recalls[count] for count in COUNTS}
    partial = [row for row in rows if _is_partial(row)]
    steps = localisation.steps([timeline(row) for row in partial], [true_spans(row) for row in partial])
    within = localisation.clip_frame_aucs(steps) if partial else np.zeros(0)
    known = [(row, value) for row, value in zip(partial, within, strict=True) if not math.isnan(value)]
    values = np.array([value for _, value in known])
    mean = _over_people(lambda weights: float(weights @ values / weights.sum()), [row for row, _ in known], samples)
    pooled = localisation.pooled_frame_auc(steps) if partial else math.nan
    out |= {"Frame AUC": mean.value, "Frame AUC low": mean.low, "Frame AUC high": mean.high}
    return out | {"Frame AUC pooled": pooled}


def timeline(row: ScoreRow) -> np.ndarray:
    """How broken each step is in any way [t]; nan where nothing is known."""
    return np.fmax.reduce([curve(row, f"frame_{cue}") for cue in CUES])


# ---------------------------------------------------------------------------------------------------- regions


def _histograms(rows: Sequence[ScoreRow], name: str) -> np.ndarray:
    """[n 2 BINS]: a map's cells inside and outside of what was manipulated, by score, of each row."""
    return np.array([[np.nan_to_num(curve(row, f"{name}_{side}")) for side in SIDES] for row in rows])


def pixel_auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """The AUC of cells by their histograms [bins] over rising scores, ties counted half; nan without both."""
    total = inside.sum() * outside.sum()
    below = np.cumsum(outside) - outside
    return float(inside @ (below + outside / 2) / total) if total else math.nan


def ious(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """The IoU of all cells together at each threshold, the lower edge of each bin [bins]."""
    hits, false = (np.cumsum(counts[::-1])[::-1] for counts in (inside, outside))
    return hits / np.maximum(inside.sum() + false, 1e-9)


def _regions(val: Sequence[ScoreRow], test: Sequence[ScoreRow], samples: int) -> list[dict[str, Any]]:
    """A row of REGION_COLUMNS for each map; cells of manipulated frames alone, of which the rows' masks say so."""
    found = []
    for name in MAPS:
        fitted, rows = ([row for row in _seen(some) if _number(row, f"{name}_pointing") >= 0] for some in (val, test))
        if not rows:
            continue
        counts = _histograms(rows, name)
        place = BINS // 2
        if fitted:
            place = int(np.argmax(ious(*_histograms(fitted, name).sum(0))))
        auc = _over_people(lambda w, counts=counts: pixel_auc(*np.einsum("n,nsb->sb", w, counts)), rows, samples)
        hits = np.array([_number(row, f"{name}_pointing") for row in rows])
        pointing = _over_people(lambda w, hits=hits: float(w @ hits / w.sum()), rows, samples)
        empty = [value for row in _seen(test) if not math.isnan(value := _number(row, f"{name}_empty"))]
        found.append(
            {
                "Map": MAP_NAMES[name],
                "Clips": len(rows),
                "Pixel AUC": auc.value,
                "Pixel AUC low": auc.low,
                "Pixel AUC high": auc.high,
                "IoU": float(ious(*counts.sum(0))[place]),
                "Threshold": place / BINS,
                "Pointing game": pointing.value,
                "Pointing game low": pointing.low,
                "Pointing game high": pointing.high,
                "Highest cell of real frames": float(np.mean(empty)) if empty else math.nan,
            }
        )
    return found


# ------------------------------------------------------------------------------------------------------- text


def _type_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [f"{'types':<18}{'macro-F1 [95 %]':<24}{'accuracy':>9}{'hier. P':>9}{'R':>7}{'F1':>7}{'unknown':>9}"]
    for row in rows:
        f1 = with_interval(row["Macro-F1"], row["Macro-F1 low"], row["Macro-F1 high"])
        tree = [number(row[f"Hierarchical {name}"]) for name in ("precision", "recall", "F1")]
        lines.append(
            f"{row['System']:<18}{f1:<24}{number(row['Type accuracy']):>9}{tree[0]:>9}{tree[1]:>7}{tree[2]:>7}"
            f"{number(row['Fakes called unknown']):>9}"
        )
    return lines


def _segment_lines(tables: Mapping[str, Table]) -> list[str]:
    lines = [f"{'segments':<31}{'AP@.5 [95 %]':<22}{'AP@.75 [95 %]':<22}{'.95':>5}{'AR@10':>6}{'frame AUC':>11}"]
    for row in tables["segments"].rows:
        half, tight = (
            with_interval(row[f"AP@{iou:g}"], row[f"AP@{iou:g} low"], row[f"AP@{iou:g} high"]) for iou in IOUS[:2]
        )
        lines.append(
            f"{terminal.fit(row['Fakes'], 30):<31}{half:<22}{tight:<22}{number(row['AP@0.95'], 2):>5}"
            f"{number(row['AR@10'], 2):>6}{number(row['Frame AUC']):>11}"
        )
    return [*lines, "Frame AUC: the mean within each partial fake."]


def _region_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"{'map of the picture':<22}{'pixel AUC [95 %]':<24}{'IoU':>6}   {'pointing game [95 %]':<24}{'on reals':>9}"
    ]
    for row in rows:
        auc = with_interval(row["Pixel AUC"], row["Pixel AUC low"], row["Pixel AUC high"])
        game = with_interval(row["Pointing game"], row["Pointing game low"], row["Pointing game high"])
        lines.append(
            f"{row['Map']:<22}{auc:<24}{number(row['IoU']):>6}   {game:<24}"
            f"{number(row['Highest cell of real frames']):>9}"
        )
    return [*lines, "Over the cells of manipulated frames. On reals: the mean of a frame's highest cell."]
