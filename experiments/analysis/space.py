"""Where a fusion sees the test clips: the vectors that it decides from, laid out in a plane by t-SNE."""

import pathlib
from collections.abc import Sequence

import numpy as np

from experiments import embeddings
from experiments.analysis.detectors import Detector, own_auc
from experiments.analysis.figures import Drawn
from experiments.figures import embedding
from experiments.score_table import ScoreRow

PERPLEXITY = 30  # about how many neighbours a point is laid beside
LEAST = 12  # clips


def draw(detectors: Sequence[Detector], clips: Sequence[ScoreRow]) -> Drawn | str:
    """t-SNE (van der Maaten & Hinton 2008) of the best fusion's vectors; a string says why there is none.

    The best is that of highest AUC on validation, of those that read several streams and have left their vectors.

    Raises:
      ValueError: a file of vectors is damaged.
    """
    found = {one: path for one in detectors if not one.single and (path := _file(one)).is_file()}
    if not found:
        return (
            f"No t-SNE of embeddings: no fusion has left its vectors ({embeddings.FILE} beside its score tables). Runs "
            "that are trained now leave them; those of fused tables have none."
        )
    rows = {one: one.tables[one.best].get("val", {}).values() for one in found}
    best = max(found, key=lambda one: np.nan_to_num(own_auc(rows[one], one.judged_by), nan=-1.0))
    vectors = embeddings.read(found[best])
    some = [clip for clip in clips if clip.clip_id in vectors]
    if len(some) < LEAST:
        return f"No t-SNE of embeddings: {best.name} has vectors of {len(some)} test clips; {LEAST} are needed."
    perplexity = min(PERPLEXITY, (len(some) - 1) // 3)
    points = lay_out(np.stack([vectors[clip.clip_id] for clip in some]), perplexity)
    methods = ["real" if clip.label == 0 else clip.method for clip in some]
    return Drawn(
        embedding.draw(
            points, methods, [clip.identity for clip in some], title=f"{best.name}: the vectors that it decides from"
        ),
        "Embeddings",
        f"t-SNE, perplexity {perplexity}, of the vector that {best.name} decides from, of {len(some)} test clips. It "
        "is the best on validation of the fusions that have such a vector. Clips beside each other are alike to it. "
        "Colours that part on the left are methods that it tells from each other; colours that part on the right are "
        "people that it knows apart, which it should not need. The picture cannot show how far apart groups are, or "
        "how large or dense: t-SNE keeps neighbours and no distances, and another perplexity makes another picture. It "
        "proves nothing that an AUC does not say.",
    )


def lay_out(vectors: np.ndarray, perplexity: int) -> np.ndarray:
    """vectors [n d] -> points [n 2]; the same for the same vectors."""
    from sklearn.manifold import TSNE

    # The exact gradient: the approximate one sums in whatever order its threads come.
    tsne = TSNE(perplexity=perplexity, init="pca", method="exact", random_state=0)
    return tsne.fit_transform(vectors.astype(np.float64))


def _file(detector: Detector) -> pathlib.Path:
    return detector.folders[detector.best] / embeddings.FILE if detector.folders else pathlib.Path(embeddings.FILE)
