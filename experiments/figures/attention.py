"""What a cross-modal detector looked at: heat over the face frames, and attention along the time of sound and video."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from experiments.figures import style
from mmdf_jax.audio import SAMPLE_RATE, mel_filters
from mmdf_jax.layers.spectrogram import log_mel, to_float

HEAT = "inferno"
MAX_FRAMES = 6
BANDS, FLOOR_DB = 80, -80.0
LINES = {
    "audio": {"color": style.ACCENT, "linewidth": 1.5},
    "video": {"color": style.SECOND, "linewidth": 1.5, "linestyle": (0, (4, 1.2))},
    "mouth": {"color": style.THIRD, "linewidth": 1.5, "linestyle": (0, (2, 1))},
    "sync": {"color": style.INK, "linewidth": 1.8},
}


@dataclasses.dataclass(frozen=True)
class AttentionMaps:
    """One window of one clip. A stream that the clip or the model lacks is None. Attentions are >= 0, of any scale."""

    title: str
    window: float  # seconds
    frames: np.ndarray | None = None  # [n h w 3] uint8, frame i at (i + 0.5) / n of the window
    image_attention: np.ndarray | None = None  # [n gh gw]
    audio: np.ndarray | None = None  # [s] waveform, 16 kHz, int16 or float in [-1, 1]
    over_time: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # {stream: [t], over the window}
    spans: Sequence[tuple[float, float]] = ()  # fake ones, seconds from the clip's beginning
    start: float = 0.0  # seconds from the clip's beginning
    label: int = -1  # 1 fake, 0 real, -1 unknown: colours the title
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)  # shown beside the title
    shares: Mapping[str, float] = dataclasses.field(
        default_factory=dict
    )  # each stream's part of all attention; shown too


def of_batch(
    batch: Mapping[str, np.ndarray],
    attention: Mapping[str, np.ndarray],
    i: int,
    *,
    title: str,
    window: float,
    scores: Mapping[str, float],
    spans: Sequence[tuple[float, float]] = (),
) -> AttentionMaps:
    """Example i of a batch, with a model's `attention` output {stream: [b …]}, as maps to draw.

    Streams that the example lacks are left out: those that `batch` says are absent, and a comparison of streams that
    nothing looked at. Attention over video [b t h w] is summed over the picture.
    `window` in seconds; `scores`: what to print, by name.
    """
    present = {}
    for stream, weights in attention.items():
        if batch[f"{stream}_mask"][i] if f"{stream}_mask" in batch else weights[i].any():
            present[stream] = np.asarray(weights[i], np.float64)
    total = sum(a.sum() for a in present.values())
    return AttentionMaps(
        title=title,
        window=window,
        frames=np.asarray(batch["image"][i]) if "image" in present else None,
        image_attention=present.get("image"),
        audio=np.asarray(batch["audio"][i]) if "audio" in present else None,
        over_time={stream: along_time(a) for stream, a in present.items() if stream != "image"},
        spans=spans,
        start=float(batch["window_start"][i]),
        label=int(batch["label"][i]),
        scores=scores,
        shares={stream: float(a.sum() / total) for stream, a in present.items()} if total > 0 else {},
    )


def along_time(attention: np.ndarray) -> np.ndarray:
    """Attention over a token grid [t …], summed over all but time: [t]."""
    return attention.reshape(len(attention), -1).sum(1)


def draw(clips: Sequence[AttentionMaps], *, title: str = "") -> Figure:
    """One block per clip: frames above the same frames under heat; log-mel spectrogram above attention over time,
    fake spans shaded.

    Each attention map is shown as a multiple of uniform attention over its own stream (1 = no preference), and the
    colours mean the same in all clips. ValueError where shapes do not fit or an attention is negative or not finite.
    """
    if not clips:
        raise ValueError("attention figure: expected at least one clip, found none")
    heats = [_relative(clip, "image_attention", clip.image_attention, 3) for clip in clips]
    for clip, heat in zip(clips, heats, strict=True):
        if heat is not None and (clip.frames is None or len(clip.frames) != len(heat)):
            found = "none" if clip.frames is None else len(clip.frames)
            raise ValueError(f"attention of {clip.title!r}: {len(heat)} maps for {found} frames")
    known = [heat.ravel() for heat in heats if heat is not None]
    top = max(2.0, float(np.percentile(np.concatenate(known), 99.5))) if known else 2.0
    columns = min(MAX_FRAMES, max((len(clip.frames) for clip in clips if clip.frames is not None), default=1))

    with style.look():
        figure = style.new_figure(max(1.25 * columns, 3.0) + 5.6, 2.75 * len(clips) + (0.4 if title else 0.1))
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05, wspace=0.01, hspace=0.02)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        blocks = np.atleast_1d(figure.subfigures(len(clips), 1))
        for clip, heat, block in zip(clips, heats, blocks, strict=True):
            colour = {0: style.REAL, 1: style.FAKE}.get(clip.label, style.INK)
            scores = " · ".join(f"{name} {value:.2f}" for name, value in clip.scores.items())
            shares = ", ".join(f"{stream} {100 * share:.0f} %" for stream, share in clip.shares.items())
            facts = "    ".join(part for part in (shares and f"attention: {shares}", scores) if part)
            room = int((figure.get_figwidth() - 0.3 - 0.078 * len(facts)) / 0.085)  # inches a letter, measured
            heading = style.shorten(clip.title, max(room, 10))
            block.suptitle(heading, x=0.01, ha="left", fontsize=9.5, fontweight="bold", color=colour)
            block.text(0.99, 0.98, facts, ha="right", va="top", fontsize=9)
            left, right = block.subfigures(1, 2, width_ratios=[max(1.25 * columns, 3.0), 5.6])
            _frames(left, clip, heat, columns, top)
            _times(right, clip, columns)
    return figure


def _relative(clip: AttentionMaps, name: str, attention: np.ndarray | None, dimensions: int) -> np.ndarray | None:
    """Attention divided by its mean: a multiple of what uniform attention would give."""
    if attention is None:
        return None
    attention = np.asarray(attention, np.float64)
    if attention.ndim != dimensions or not attention.size:
        raise ValueError(f"{name} of {clip.title!r}: expected {dimensions} axes and a value, found {attention.shape}")
    if not np.isfinite(attention).all() or attention.min() < 0:
        raise ValueError(f"{name} of {clip.title!r}: attention must be finite and not negative")
    mean = attention.mean()
    return attention / mean if mean > 0 else np.ones_like(attention)


def _frames(figure: Figure, clip: AttentionMaps, heat: np.ndarray | None, columns: int, top: float) -> None:
    if clip.frames is None:
        panel = figure.subplots()
        panel.set_axis_off()
        style.say(panel, "no image stream")
        return
    axes = figure.subplots(2, columns, squeeze=False)
    for panel in axes.ravel():
        panel.set_axis_off()
    shown, times = _shown(clip, columns)
    picture: AxesImage | None = None
    for column, i in enumerate(shown):
        frame = clip.frames[i]
        extent = (0, frame.shape[1], frame.shape[0], 0)
        axes[0, column].imshow(frame, extent=extent)
        axes[0, column].set_title(f"{times[column]:.2f} s", fontsize=8, fontweight="normal", loc="center", pad=2)
        if heat is None:
            continue
        # The picture is grey, so that every colour is attention. The face stays visible where attention is low.
        grey = frame @ np.array([0.299, 0.587, 0.114])
        axes[1, column].imshow(grey, cmap="gray", vmin=0, vmax=255, extent=extent)
        smooth = _enlarge(heat[i], frame.shape[:2])
        picture = axes[1, column].imshow(
            smooth, cmap=HEAT, vmin=0, vmax=top, alpha=np.clip(0.25 + 0.45 * smooth / top, 0, 0.7), extent=extent
        )
    if picture is None:
        style.say(axes[1, 0], "no attention map")
        return
    picture_bar = figure.colorbar(
        AxesImage(axes[1, 0], cmap=HEAT, norm=picture.norm), ax=axes[1, :].tolist(), fraction=0.04, pad=0.01, aspect=14
    )
    picture_bar.set_label("attention\n(× uniform)", fontsize=7.5)
    picture_bar.ax.tick_params(labelsize=7)
    picture_bar.outline.set_visible(False)


def _shown(clip: AttentionMaps, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the frames that are shown, evenly chosen, and their times in seconds."""
    n = len(clip.frames)
    shown = np.unique(np.linspace(0, n - 1, min(n, columns)).round().astype(int))
    return shown, clip.start + (shown + 0.5) / n * clip.window


def _enlarge(heat: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bilinear, by cell centres: [gh gw] -> [h w]."""
    for axis, size in enumerate(shape):
        cells = heat.shape[axis]
        place = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, cells - 1)
        weight = (place - low).reshape((-1, 1) if axis == 0 else (1, -1))
        heat = heat.take(low, axis) * (1 - weight) + heat.take(high, axis) * weight
    return heat


def _times(figure: Figure, clip: AttentionMaps, columns: int) -> None:
    sound, lines = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1])
    end = clip.start + clip.window
    sound.grid(False)
    if clip.audio is None:
        sound.set_yticks([])
        style.say(sound, "no audio stream")
    else:
        _spectrogram(figure, sound, clip)

    known = False
    for begin, stop in clip.spans:
        lines.axvspan(max(begin, clip.start), min(stop, end), color=style.FAKE, alpha=0.12, linewidth=0)
    for name, attention in clip.over_time.items():
        values = _relative(clip, f"{name}_attention", attention, 1)
        edges = np.linspace(clip.start, end, len(values) + 1)
        lines.stairs(values, edges, baseline=None, label=name, **LINES.get(name, {"color": style.MUTED}))
        known = True
    if known:
        lines.axhline(1, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        lines.set_ylim(0, max(lines.get_ylim()[1], 2.0) * 1.3)  # room for the legend
        if clip.frames is not None:
            _, times = _shown(clip, columns)
            foot = {"transform": lines.get_xaxis_transform(), "clip_on": False, "zorder": 5}
            lines.plot(times, np.full(len(times), 0.03), "^", color=style.MUTED, markersize=5, label="frames", **foot)
        lines.legend(loc="upper right", ncols=len(clip.over_time) + 1, borderaxespad=0.1, handlelength=1.8)
        lines.set_ylabel("attention\n(× uniform)", fontsize=8)
    else:
        lines.set_yticks([])
        style.say(lines, "no attention over time")
    lines.set_xlim(clip.start, end)
    lines.set_xlabel("time in the clip (s)", fontsize=8)


def _spectrogram(figure: Figure, axes: Axes, clip: AttentionMaps) -> None:
    audio = to_float(np.asarray(clip.audio))
    if not audio.any():
        axes.set_yticks([])
        style.say(axes, "silence")
        return
    # Speech work usually takes windows of 25 ms every 10 ms.
    energy = np.asarray(log_mel(audio[None], bins=BANDS, win_length=400, hop=160, top_db=-FLOOR_DB))[0]
    end = clip.start + len(audio) / SAMPLE_RATE
    picture = axes.imshow(
        energy.T - energy.max(),
        origin="lower",
        aspect="auto",
        cmap="gray_r",
        vmin=FLOOR_DB,
        vmax=0,
        extent=(clip.start, end, -0.5, BANDS - 0.5),
    )
    centres = mel_filters(SAMPLE_RATE, 8192, BANDS, 0.0, None).argmax(axis=0) * SAMPLE_RATE / 8192
    ticks = np.array([500, 1000, 2000, 4000])
    axes.set_yticks(np.interp(ticks, centres, np.arange(BANDS)), [f"{tick / 1000:g}" for tick in ticks])
    axes.set_ylabel("kHz\n(mel scale)", fontsize=8)
    bar = figure.colorbar(picture, ax=axes, fraction=0.03, pad=0.01, aspect=12, ticks=[FLOOR_DB, FLOOR_DB / 2, 0])
    bar.set_label("dB below peak", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
