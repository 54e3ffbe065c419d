"""Whether the frames of a face follow each other as they should: several looks at one video, judged step by step.

Each branch sees another thing: how pixels move and what motion does not explain, how brightness changes apart from the
exposure, twelve statistics of both, or the frames themselves.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmdf_jax.layers import flow_measures
from mmdf_jax.layers.conv import Conv3D
from mmdf_jax.layers.frame_changes import changes, luminance, relative
from mmdf_jax.layers.norm import BatchNorm, LayerNorm
from mmdf_jax.layers.optical_flow import lucas_kanade
from mmdf_jax.layers.time_steps import to_steps
from mmdf_jax.models import temporal_statistics
from mmdf_jax.models.encode import encode
from mmdf_jax.typing import Array, Batch, Dtype, Outputs

STATISTICS = "statistics"
_FLOW_SCALE, _ERROR_SCALE = 0.5, 4.0  # typical sizes: pixels, grey levels


class Model(nn.Module):
    """A detector over the stream `video`, with a judgement of every step of it.

    encoders: {branch: encoder}, branches among
      flow         [b t h w 3]: optical flow and the warp error that it leaves, of each frame to the next
      differences  [b t h w 2]: first and second differences of the frames' luminance over its own mean
      changes      [b t h w 3]: these, and the luminance over its mean itself
      ftcn, frames [b t h w 3]: the frames as they are.
    branches: which of them are used, and whether `statistics` is one more: twelve numbers of the window, through a
      linear layer.
    width: of each branch's steps before they are joined. kernel: steps that a judgement looks at.
    dropout: on the steps before the heads.
    flow_size: pixels of a side that flow is computed at; 0: as the frames are. flow_gradient: whether flow passes one.
    baselines: also a logistic regression on the statistics, which trains beside the detector and never with it.
    frozen: the encoders always run as in evaluation.
    """

    encoders: dict[str, nn.Module]
    branches: tuple[str, ...] = ("flow", "differences", STATISTICS)
    width: int = 64
    kernel: int = 5
    dropout: float = 0.0
    flow_size: int = 0
    flow_gradient: bool = False
    baselines: bool = True
    frozen: bool = False
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool = False, capture: Sequence[str] = ()) -> Outputs:
        """Batch -> named outputs.

        Returns
          `logits [b]`: log-odds of fake, from the steps pooled by attention; `frame_logits [b t]`: of each step;
          `frame_valid [b t]` bool; `branch_logits {branch: [b]}`: what each branch says alone;
          `baseline_logits {"statistics": [b]}`; `stream_logits`: {}; `statistics [b 12]`;
          `embeddings {"video": [b d]}`; `encoders {branch: all that its encoder returns}`; `present {"video": [b]}`;
          and, where `capture` names it, `flow [b t-1 h w 2]` in pixels of the size that it was computed at.

        Raises:
          ValueError: `branches` is empty or names what there is no encoder for.
        """
        known = (*sorted(self.encoders), STATISTICS)
        if not self.branches or not set(self.branches) <= set(known):
            raise ValueError(f"config.model.branches={self.branches}: expected some of {', '.join(known)}")
        video, present = batch["video"], batch["video_mask"]
        t = video.shape[1]
        valid = batch.get("video_valid", jnp.ones(video.shape[:2], bool)) & present[:, None]
        seen = Seen(video, valid, self.flow_size, self.flow_gradient)
        encoded, steps = {}, {}
        for branch in (name for name in self.branches if name != STATISTICS):
            if branch not in INPUTS:
                raise ValueError(f"config.model.encoders: no branch {branch!r}; known: {', '.join(INPUTS)}")
            inputs = {branch: INPUTS[branch](seen), f"{branch}_mask": present, f"{branch}_valid": valid}
            out = encode(self.encoders[branch], branch, inputs, train=train and not self.frozen, capture=capture)
            encoded[branch] = out
            tokens = out["tokens"].reshape(*out["tokens"].shape[:2], -1, out["tokens"].shape[-1]).mean(2)
            steps[branch] = self._project(branch, to_steps(tokens, t))
        extra = {}
        if STATISTICS in self.branches or self.baselines:
            extra["statistics"] = statistics = jax.lax.stop_gradient(seen.statistics())
            scaled = BatchNorm(momentum=0.9, name="statistics_norm")(statistics, train=train)
            if STATISTICS in self.branches:
                steps[STATISTICS] = jnp.repeat(self._project(STATISTICS, scaled)[:, None], t, 1)
        if "flow" in capture:
            extra["flow"] = seen.flow
        joint = jnp.concatenate([steps[name] for name in self.branches], axis=-1)
        frame_logits, logits, pooled = self._head("joint")(joint, valid, train=train)
        branches = {name: self._head(name)(x, valid, train=train)[1] for name, x in steps.items() if len(steps) > 1}
        baselines = {}
        if self.baselines:
            # Adam moves a weight by its rate a step: on larger numbers it comes to the optimum within a short run.
            line = nn.Dense(1, dtype=jnp.float32, kernel_init=nn.initializers.zeros, name="baseline_statistics")
            baselines[STATISTICS] = line(10 * jax.lax.stop_gradient(scaled))[:, 0]
        return {
            "logits": logits,
            "frame_logits": frame_logits,
            "frame_valid": valid,
            "branch_logits": branches,
            "baseline_logits": baselines,
            "stream_logits": {},
            "embeddings": {"video": pooled},
            "encoders": encoded,
            "present": {"video": present},
            **extra,
        }

    def _project(self, branch: str, x: Array) -> Array:
        """Steps [… d] of a branch, all branches alike in size: [… width]."""
        x = LayerNorm(dtype=self.dtype, name=f"norm_{branch}")(x) if branch != STATISTICS else x.astype(self.dtype)
        return nn.Dense(self.width, dtype=self.dtype, name=f"project_{branch}")(x)

    def _head(self, name: str) -> "Head":
        return Head(self.kernel, self.dropout, dtype=self.dtype, name=f"head_{name}")


class Head(nn.Module):
    """Steps x [b t d] -> log-odds of each [b t] and of all of them [b], both fp32, and the pooled vector [b d].

    A convolution over `kernel` steps; the steps are pooled by attention with one learned query.
    """

    kernel: int
    dropout: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array, valid: Array, *, train: bool) -> tuple[Array, Array, Array]:
        x = nn.Dropout(self.dropout, deterministic=not train)(jnp.where(valid[..., None], x, 0))
        y = Conv3D(x.shape[-1], (self.kernel, 1, 1), dtype=self.dtype, name="time")(x[:, :, None, None])[:, :, 0, 0]
        x = nn.relu(x + y).astype(jnp.float32)
        frames = nn.Dense(1, dtype=jnp.float32, name="frame")(x)[..., 0]
        weights = nn.Dense(1, dtype=jnp.float32, name="attention")(x)[..., 0]
        # A window without a valid step is pooled as if all were: nothing in it counts.
        weights = jnp.where(valid | ~valid.any(1, keepdims=True), weights, -1e9)
        pooled = jnp.einsum("btd,bt->bd", x, jax.nn.softmax(weights))
        return frames, nn.Dense(1, dtype=jnp.float32, name="clip")(pooled)[:, 0], pooled


class Seen:
    """What the branches see of a video [b t h w c]; each thing is computed once, and only where it is asked for."""

    def __init__(self, video: Array, valid: Array, flow_size: int = 0, flow_gradient: bool = False) -> None:
        self.video, self.valid = video, valid
        self.flow_size, self.flow_gradient = flow_size, flow_gradient
        self.grey = luminance(video)
        self._flow: Array | None = None

    @property
    def small(self) -> Array:
        """Frames in 0 to 255 at the size of the flow [b t h w], parts of the picture averaged."""
        size = self.flow_size
        if not size or self.grey.shape[2:] == (size, size):
            return 255 * self.grey
        rows = to_steps(self.grey.reshape(-1, *self.grey.shape[2:]), size)
        both = to_steps(rows.swapaxes(1, 2), size).swapaxes(1, 2)
        return 255 * both.reshape(*self.grey.shape[:2], size, size)

    @property
    def flow(self) -> Array:
        """Of each frame to the next [b t-1 h w 2], 0 where one of them is not valid."""
        if self._flow is None:
            b, t, h, w = self.small.shape
            first, second = (x.reshape(-1, h, w) for x in (self.small[:, :-1], self.small[:, 1:]))
            levels = max(1, min(3, h.bit_length() - 3))  # the coarsest has sides of 8 pixels or more
            flow = lucas_kanade(first, second, levels=levels).reshape(b, t - 1, h, w, 2)
            pair = (self.valid[:, 1:] & self.valid[:, :-1])[..., None, None, None]
            self._flow = jnp.where(pair, flow, 0)
        return self._flow if self.flow_gradient else jax.lax.stop_gradient(self._flow)

    def motion(self) -> Array:
        """The branch `flow`: flow and warp error of each frame to the next; 0 after the last and beside gaps."""
        b, t, h, w = self.small.shape
        first, second = (x.reshape(-1, h, w) for x in (self.small[:, :-1], self.small[:, 1:]))
        error = flow_measures.warp_error(first, second, self.flow.reshape(-1, h, w, 2)).reshape(b, t - 1, h, w, 1)
        error = error if self.flow_gradient else jax.lax.stop_gradient(error)
        pair = (self.valid[:, 1:] & self.valid[:, :-1])[..., None, None, None]
        both = jnp.concatenate([self.flow / _FLOW_SCALE, jnp.where(pair, error, 0) / _ERROR_SCALE], axis=-1)
        return jnp.pad(both, ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))

    def differences(self) -> Array:
        """The branch `differences`."""
        return changes(self.grey, self.valid)

    def changes(self) -> Array:
        """The branch `changes`."""
        return jnp.concatenate([changes(self.grey, self.valid), relative(self.grey)[..., None] / 0.3], axis=-1)

    def statistics(self) -> Array:
        """temporal_statistics.NAMES [b 12]."""
        return temporal_statistics.statistics(self.grey, self.small, self.flow, self.valid)


INPUTS: Mapping[str, Callable[[Seen], Array]] = {
    "flow": Seen.motion,
    "differences": Seen.differences,
    "changes": Seen.changes,
    "ftcn": lambda seen: seen.video,
    "frames": lambda seen: seen.video,
}
