"""Losses: pure functions of arrays."""

import jax
import jax.numpy as jnp
import optax

from mmdf_jax.typing import Array

MAX_SCALE = 100.0  # of the cosines in a matching loss, where it is learned, as in CLIP (Radford et al. 2021)


def masked_mean(values: Array, mask: Array) -> Array:
    """Mean of `values [b]` where `mask [b]`; 0 where nothing is masked in."""
    mask = mask.astype(values.dtype)
    return jnp.sum(values * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def binary_cross_entropy(
    logits: Array, labels: Array, mask: Array, *, smoothing: float = 0.0, balanced: bool = False
) -> Array:
    """Mean sigmoid cross-entropy in nats over the rows where `mask [b]` is True and `labels [b]` is 0 or 1, not -1.

    smoothing: moves the targets from 0/1 to smoothing/2 and 1 - smoothing/2 (Szegedy et al. 2016, section 7).
    balanced: takes the mean of the two classes' means, so that both classes weigh the same.
    """
    known = mask & (labels >= 0)
    targets = jnp.clip(labels, 0, 1).astype(jnp.float32) * (1 - smoothing) + smoothing / 2
    losses = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), targets)
    if not balanced:
        return masked_mean(losses, known)
    fake, real = known & (labels == 1), known & (labels == 0)
    classes = jnp.maximum(fake.any().astype(jnp.float32) + real.any(), 1.0)
    return (masked_mean(losses, fake) + masked_mean(losses, real)) / classes


def soft_cross_entropy(logits: Array, targets: Array, mask: Array) -> Array:
    """Mean sigmoid cross-entropy in nats against targets in [0, 1], where mask; fake and real weigh the same.

    All [b t]. It is the mean of two means: of the loss of calling it fake, each step weighed by its target, and of
    calling it real, by what is left of 1; the one alone where the other has no weight.
    """
    logits, targets = logits.astype(jnp.float32), jnp.clip(targets.astype(jnp.float32), 0, 1)
    fake, real = targets * mask, (1 - targets) * mask
    sums = [(fake, jax.nn.softplus(-logits)), (real, jax.nn.softplus(logits))]
    means = sum((weight * loss).sum() / jnp.maximum(weight.sum(), 1e-6) for weight, loss in sums)
    return means / jnp.maximum((fake.sum() > 0).astype(jnp.float32) + (real.sum() > 0), 1)


def time_matching(x: Array, y: Array, valid: Array, rows: Array, scale: Array | float) -> Array:
    """Multi-way matching inside the clip: every step of x must find its own among all steps of y, and the reverse.

    The cross-entropy in nats of the softmax over the other stream's steps, mean over both directions and all steps that
    count (Chung, Chung and Kang 2019, Perfect Match; InfoNCE, van den Oord et al. 2018, with negatives from the same
    clip alone). A clip of which t steps count costs log t where nothing is known.

    x, y: [b t d], L2-normalised; valid: [b t] bool, steps that both streams have; rows: [b] bool, clips whose streams
    belong together; scale: of the cosines, an inverse temperature.
    """
    counted = valid & rows[:, None]
    logits = scale * jnp.einsum("btd,bsd->bts", x.astype(jnp.float32), y.astype(jnp.float32))
    return _matching(logits, counted, counted)


def pooled_matching(x: Array, y: Array, rows: Array, scale: Array | float) -> Array:
    """Matching over the batch (Radford et al. 2021, CLIP): every x must find its own among all y, and the reverse.

    x, y: [b d], L2-normalised; rows: [b] bool, clips that count, as candidates too. In nats; log b' of b' such clips
    where nothing is known.
    """
    logits = scale * x.astype(jnp.float32) @ y.astype(jnp.float32).T
    return _matching(logits[None], rows[None], rows[None])


def mismatch_hinge(cosines: Array, mismatched: Array, margin: float) -> Array:
    """How far the mean cosine of what does not belong together lies above `margin`, at least 0, mean over the clips.

    cosines: [b t]; mismatched: [b t] bool, steps that are known not to match. A clip without one does not count.
    """
    mean = jnp.where(mismatched, cosines, 0).sum(1) / jnp.maximum(mismatched.sum(1), 1)
    return masked_mean(jnp.maximum(mean - margin, 0), mismatched.any(1))


def focal(logits: Array, targets: Array, known: Array, *, alpha: float = 0.5, gamma: float = 2.0) -> Array:
    """Sum over what is known of the focal loss in nats (Lin et al. 2017, equation 5), with targets from 0 to 1.

    alpha weighs what is fully positive, 1 - alpha what is fully negative; (1 - p_t)^gamma becomes |target - p|^gamma,
    which for 0 and 1 is the same (Li et al. 2020, equation 3). All arguments are of one shape. Divide the sum by the
    number of positives of the whole batch.
    """
    logits, targets = logits.astype(jnp.float32), jnp.clip(targets, 0, 1).astype(jnp.float32)
    apart = jnp.abs(targets - jax.nn.sigmoid(logits))
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    # The power of 0 has no derivative where gamma is below 1.
    losses = weight * jnp.maximum(apart, 1e-6) ** gamma * optax.sigmoid_binary_cross_entropy(logits, targets)
    return jnp.sum(jnp.where(known, losses, 0))


def interval_distance(predicted: Array, target: Array) -> Array:
    """1 - DIoU of intervals around one point (Zheng et al. 2020, equation 7, in one dimension): [...] in [0, 2).

    predicted, target: [... 2], distances >= 0 from the point to the interval's start and to its end. DIoU is the IoU
    less the squared distance of the middles over the squared length of what encloses both.
    """
    predicted, target = predicted.astype(jnp.float32), target.astype(jnp.float32)
    overlap = jnp.minimum(predicted, target).sum(-1)
    enclosing = jnp.maximum(jnp.maximum(predicted, target).sum(-1), 1e-6)
    union = jnp.maximum(predicted.sum(-1) + target.sum(-1) - overlap, 1e-6)
    middles = ((predicted[..., 1] - predicted[..., 0]) - (target[..., 1] - target[..., 0])) / 2
    return 1 - overlap / union + (middles / enclosing) ** 2


def dice(probabilities: Array, targets: Array, *, smooth: float = 1.0) -> Array:
    """1 - the soft Dice coefficient of maps [... h w] with values from 0 to 1 (Milletari et al. 2016): [...].

    smooth: added to both sides of the fraction, so that two empty maps agree.
    """
    both = (probabilities * targets).sum((-2, -1))
    return 1 - (2 * both + smooth) / (probabilities.sum((-2, -1)) + targets.sum((-2, -1)) + smooth)


def _matching(logits: Array, counted: Array, candidates: Array) -> Array:
    """Symmetric cross-entropy of the diagonal of logits [b t t] among candidates [b t], where counted [b t]."""
    forward = jnp.where(candidates[:, None, :], logits, -1e9)
    backward = jnp.where(candidates[:, None, :], logits.swapaxes(1, 2), -1e9)
    diagonal = jnp.diagonal(logits, axis1=1, axis2=2)
    both = (jax.nn.logsumexp(forward, -1) + jax.nn.logsumexp(backward, -1)) / 2 - diagonal
    return masked_mean(jnp.where(counted, both, 0).ravel(), counted.ravel())
