"""Array aliases, the axis letters of every shape in this project, and the protocols that its parts fulfil.

b batch · t time · h height · w width · c channels · n tokens or frames · d features · s audio samples
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import jax
import numpy as np

Array = jax.Array | np.ndarray
Batch = dict[str, Array]
Outputs = dict[str, Any]
Dtype = Any
Reduction = Literal["mean", "median", "max", "curve", "stitched"]


class Encoder(Protocol):
    """One stream to tokens: a file in `mmdf_jax/encoders`, which defines it as `Model`.

    The file says all that others must know of the encoder. A file in `mmdf_jax/encoders` has

        VARIANTS   {variant: fields of Model}, "tiny" among them
        EXAMPLE    jax.ShapeDtypeStruct of the smallest input that initialises the model

    and what may be left out:

        LAST       what comes after the last block and trains with it: regular expressions of names in the parameters,
                   see `mmdf_jax.finetune`
        macs(model, shape) -> Macs    multiply-adds of one input, see `mmdf_jax.flops`; without it the benchmark prints
                   no FLOPs
        BENCHMARK  the variants that the benchmark measures when it is told none
        SHALLOW    fields, as a config writes them, that cut any variant to the fewest blocks that show each kind: for
                   tests
        MODEL_TYPES, RULES, DROPS, from_config    published weights, see `mmdf_jax.weights.rules`
    """

    def __call__(
        self, x: Array, *, valid: Array | None = None, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        """x: [b h w 3] pictures, [b t h w c] snippets or [b s] samples; valid: [b t] bool, which steps are no padding.

        Returns at least `tokens [b t … d]` (or `[b … d]` of single pictures) and `pooled [b d]`; what costs memory
        to keep, only where `capture` names it.
        """


class Fusion(Protocol):
    """Several streams' tokens to one vector: a file in `mmdf_jax/fusion`."""

    def __call__(
        self, tokens: dict[str, Array], present: dict[str, Array], *, train: bool = False, capture: Sequence[str] = ()
    ) -> Outputs:
        """tokens: {stream: [b t … d]}, t equal steps of the window; present: {stream: [b] bool}.

        Returns at least `fused [b d]`.
        """


class Model(Protocol):
    """A whole detector: a file in `mmdf_jax/models`."""

    def __call__(self, batch: Batch, *, train: bool = False, capture: Sequence[str] = ()) -> Outputs:
        """Named outputs: `logits [b]`, `embeddings`, `encoders` (all that each encoder returns), `present`, …

        Three are drawn if `capture` names them: `attention` {stream: weights over its tokens}; `similarity [b t s]`, of
        each step of one stream with each of another: of the mouth with the sound, where the model has no field `pair`
        that names two others; and `flow [b t-1 h w 2]`, in pixels, of each frame of the video to the next.
        """


class Row(Protocol):
    """One clip of a score table: the dataset's labels (1 fake, 0 real, -1 unknown), and what was computed of it."""

    label: int
    video_label: int
    audio_label: int
    method: str
    score: float  # nan where the detector abstained
    extra: Mapping[str, float | str]


class Task(Protocol):
    """All that the kind of an experiment means: a file in `mmdf_jax/tasks`."""

    evaluator: Mapping[str, Any]  # what reports it: the spec of a file in experiments/evaluators
    directions: Mapping[str, Literal["max", "min"]]  # validation metrics, and which way each is better
    # May be left out; True where the loss compares the rows of a batch, which gradient accumulation would part:
    # compares_rows: bool
    # May be left out; the columns that a clip's reduced outputs {name: [] or [k]} become, numbers, arrays or text:
    # finish(values) -> {name: value}

    def loss(self, outputs: Outputs, batch: Batch) -> tuple[Array, dict[str, Array]]:
        """The scalar to minimise, and scalars worth logging."""

    def outputs(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """What is kept of each window: [b], or [b t] or [b k] where `reduction` says so. NaN where nothing is known."""

    def reduction(self, name: str) -> Reduction:
        """How the output `name` of a clip's windows becomes the clip's.

        `mean`, `median`, `max`: of [b]; `curve`: the mean of [b k], element by element; `stitched`: [b t], equal steps
        of the window, laid along the clip's time by `window_start`, with the mean where windows overlap.
        """

    def columns(self, clip: Any) -> dict[str, float | str]:
        """Further columns that the score table says of a clip of the dataset (data_pipelines.clip.Clip)."""

    def validate(self, rows: Sequence[Row]) -> dict[str, float]:
        """{validation metric: value} over a split's rows; `train.select` may name any of them."""
