"""Plain PyTorch twins of the encoders that transformers lacks: our own networks, and torchvision's 3-D ResNets.

Each is what one would write for that network in torch: channels first, frames folded into the batch wherever a kernel
has no extent in time, torch's own LSTM and STFT. All return tokens [b … d] and pooled [b d]; inputs have their full
length, there are no masks. Modules of our own networks' twins have the names of our parameters.
"""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mmdf_jax.encoders import cnn_lstm, spectrogram_cnn, temporal_difference
from mmdf_jax.layers import spectrogram
from mmdf_jax.weights import load, rules

Pair = tuple[torch.Tensor, torch.Tensor]


def variables(twin: nn.Module, target: Any) -> dict[str, Any]:
    """The parameters and statistics of a twin of our own networks, as variables of the structure of `target`.

    A name of the twin is the path of our variable, but for what torch calls differently. Left out are counters, and
    an image `encoder` of transformers, which has rules of its own. Raises WeightsError if on either side anything
    else is left over or does not fit.
    """
    tensors = {name.replace(".", "/"): x.numpy() for name, x in twin.state_dict().items()}
    drops = (r"encoder/.*", r".*/num_batches_tracked")
    return load.convert(tensors, twin.RULES, drops, target, "the torch twin")


_BIAS = (r"(.*)/bias", r"params/\1/bias", rules.same)


class SpectrogramCnn(nn.Module):
    """Sound [b s], float in [-1, 1], to tokens [b t d] and pooled [b d], as `spectrogram_cnn.Model`."""

    RULES = (
        (r"(.*)/weight", r"params/\1/kernel", rules.conv),  # dense layers have the same rule
        (r"(.*)/weight", r"params/\1/scale", rules.same),
        _BIAS,
    )

    def __init__(self, model: spectrogram_cnn.Model) -> None:
        super().__init__()
        _, mean, std = spectrogram_cnn.FRONT_ENDS[model.front_end]
        self.mean, self.std = (mean if model.mean is None else model.mean), (std if model.std is None else model.std)
        self.front_end = FrontEnd(model.front_end, **(model.front_end_options or {}))
        self.stem = nn.Conv2d(1, model.width, 3, model.strides[0], padding=1, bias=False)
        self.stem_norm = _group_norm(model.width)
        self.blocks, c = [], model.width
        for i, (blocks, strides) in enumerate(zip(model.stage_sizes, model.strides[1:], strict=True)):
            for j in range(blocks):
                d = model.width * 2**i
                name = f"stage{i}_block{j}"
                setattr(self, name, _SpectrogramBlock(c, d, strides if j == 0 else (1, 1)))
                self.blocks.append(name)
                c = d
        bins = self.front_end.bins
        for _, stride in model.strides:
            bins = -(-bins // stride)
        self.bins = nn.Linear(bins * c, c)
        self.norm = nn.LayerNorm(c, eps=1e-6)

    def forward(self, x: torch.Tensor) -> Pair:
        x = ((self.front_end(x) - self.mean) / self.std).unsqueeze(1)
        x = F.relu(self.stem_norm(self.stem(x)), inplace=True)
        for name in self.blocks:
            x = getattr(self, name)(x)
        x = F.relu(self.norm(self.bins(x.permute(0, 2, 3, 1).flatten(2))))
        return x, x.mean(1) + x.amax(1)


class _SpectrogramBlock(nn.Module):
    def __init__(self, c: int, d: int, strides: tuple[int, int]) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(c, d, 3, strides, padding=1, bias=False), _group_norm(d)
        self.conv2, self.norm2 = nn.Conv2d(d, d, 3, padding=1, bias=False), _group_norm(d)
        self.skip = nn.Conv2d(c, d, 1, strides, bias=False) if c != d or strides != (1, 1) else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)) + self.skip(x), inplace=True)


class FrontEnd(nn.Module):
    """log_mel, mfcc or lfcc of sound [b s]: [b t bins]. Options are those of our functions of that name."""

    def __init__(
        self,
        kind: str,
        *,
        bins: int | None = None,
        mels: int = 128,
        filters: int = 128,
        fmin: float = 0.0,
        fmax: float | None = None,
        scale: str = "db",
        top_db: float | None = None,
        sample_rate: int = spectrogram.SAMPLE_RATE,
        n_fft: int = 512,
        hop: int = 160,
        win_length: int | None = None,
        center: bool = True,
        pad_mode: str = "constant",
    ) -> None:
        super().__init__()
        self.scale, self.top_db = scale, 80.0 if kind != "log_mel" and top_db is None else top_db
        self.bins = bins or (80 if kind == "log_mel" else 20)
        self.stft = dict(n_fft=n_fft, hop_length=hop, win_length=win_length, center=center, pad_mode=pad_mode)
        make = spectrogram.linear_filters if kind == "lfcc" else spectrogram.mel_filters
        bank = make(sample_rate, n_fft, {"log_mel": self.bins, "mfcc": mels, "lfcc": filters}[kind], fmin, fmax)
        self._constant("window", torch.hann_window(win_length or n_fft, dtype=torch.float64).float())
        self._constant("bank", torch.from_numpy(bank))
        basis = None if kind == "log_mel" else torch.from_numpy(spectrogram.dct_basis(bank.shape[1], self.bins))
        self._constant("basis", basis)

    def _constant(self, name: str, x: torch.Tensor | None) -> None:
        self.register_buffer(name, x, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.stft(x, window=self.window, return_complex=True, **self.stft)
        x = (z.real**2 + z.imag**2).transpose(1, 2) @ self.bank
        if self.scale != "power":
            x = x.clamp(min=1e-10).log()
        if self.scale == "db":
            x = x * (10 / np.log(10))
            if self.top_db is not None:
                x = x.maximum(x.amax((1, 2), keepdim=True) - self.top_db)
        return x if self.basis is None else x @ self.basis


class CnnLstm(nn.Module):
    """Clip [b t c h w], normalised, to tokens [b t 1 1 d] and pooled [b d], as `cnn_lstm.Model`; `encoder` is the
    original of its image encoder, a model of transformers."""

    RULES = (
        (r"lstm/weight_ih_l(\d+)(_reverse)?", r"params/lstm\1\2/input/kernel", rules.dense),
        (r"lstm/weight_hh_l(\d+)(_reverse)?", r"params/lstm\1\2/kernel", rules.dense),
        (
            (r"lstm/bias_ih_l(\d+)(_reverse)?", r"lstm/bias_hh_l\1\2"),
            r"params/lstm\1\2/input/bias",
            np.add,
        ),
    )

    def __init__(self, model: cnn_lstm.Model, encoder: nn.Module, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.lstm = nn.LSTM(features, model.hidden, model.layers, batch_first=True, bidirectional=model.bidirectional)

    def forward(self, x: torch.Tensor) -> Pair:
        # CLIP alone refuses sizes other than its own unless told to interpolate.
        options = {"interpolate_pos_encoding": True} if self.encoder.config.model_type == "clip_vision_model" else {}
        frames = self.encoder(x.flatten(0, 1), **options).pooler_output.unflatten(0, x.shape[:2])
        h, _ = self.lstm(frames)
        return h[:, :, None, None], h.mean(1)


class TemporalDifference(nn.Module):
    """Clip [b t c h w], normalised, to tokens [b t h' w' d] and pooled [b d], as `temporal_difference.Model`."""

    RULES = (
        (r"(.*)/weight", r"params/\1/kernel", lambda x: rules.conv(x)[None]),  # ours has an axis of time
        (r"(.*)/weight", r"params/\1/scale", rules.same),
        (r"(.*)/running_(mean|var)", r"batch_stats/\1/\2", rules.same),
        (r"(.*)/mix", r"params/\1/mix", rules.same),
        _BIAS,
    )

    def __init__(self, model: temporal_difference.Model) -> None:
        super().__init__()
        width, half, k = model.width, model.width // 2, model.stem_kernel
        self.stem = _conv2d(3, width, k, model.strides[0])
        self.stem_norm = _norm(model.norm, width)
        self.change_stem = _conv2d(6, half, k, model.strides[0])
        self.change_stem_norm = _norm(model.norm, half)
        self.change_join0 = _conv2d(half, width, 1)
        self.change_stage = _conv2d(half, half, 3, model.strides[1])
        self.change_stage_norm = _norm(model.norm, half)
        self.change_join1 = _conv2d(half, width, 1)
        self.blocks, c = [], width
        for i, (blocks, stride) in enumerate(zip(model.stage_sizes, model.strides[1:], strict=True), 1):
            self.blocks.append([])
            for j in range(blocks):
                d = width * 2 ** (i - 1)
                name = f"stage{i}_block{j}"
                span = 0 if i == 1 else model.span
                block = _TemporalBlock(c, d, stride if j == 0 else 1, span, model.squeeze, model.norm)
                setattr(self, name, block)
                self.blocks[-1].append(name)
                c = d

    def forward(self, x: torch.Tensor) -> Pair:
        b, t = x.shape[:2]
        change = torch.cat(_neighbours(x, x, 1), 2).flatten(0, 1)
        x = F.relu(self.stem_norm(self.stem(x.flatten(0, 1))), inplace=True)
        moved = F.relu(self.change_stem_norm(self.change_stem(change)), inplace=True)
        x = x + self.change_join0(moved)
        for i, stage in enumerate(self.blocks):
            for name in stage:
                x = getattr(self, name)(x, t)
            if i == 0:
                moved = F.relu(self.change_stage_norm(self.change_stage(moved)), inplace=True)
                x = x + self.change_join1(moved)
        tokens = x.unflatten(0, (b, t))
        return tokens.movedim(2, -1), tokens.mean((1, 3, 4))


class _TemporalBlock(nn.Module):
    def __init__(self, c: int, d: int, stride: int, span: int, squeeze: int, norm: str) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(3, c))
        self.excite = _Excitation(c, max(c // squeeze, 8), span) if span else None
        self.conv1, self.conv1_norm = _conv2d(c, d, 3, stride), _norm(norm, d)
        self.conv2, self.conv2_norm = _conv2d(d, d, 3), _norm(norm, d)
        self.skip = None
        if c != d or stride != 1:
            self.skip, self.skip_norm = _conv2d(c, d, 1, stride), _norm(norm, d)

    def forward(self, x: torch.Tensor, t: int) -> torch.Tensor:
        """x [b·t c h w]."""
        y = x if self.excite is None else self.excite(x, t)
        y = F.relu(self.conv1_norm(self.conv1(_mix(y, self.mix, t))), inplace=True)
        y = self.conv2_norm(self.conv2(y))
        return F.relu(y + (x if self.skip is None else self.skip_norm(self.skip(x))), inplace=True)


class _Excitation(nn.Module):
    def __init__(self, c: int, small: int, span: int) -> None:
        super().__init__()
        self.span = span
        self.squeeze, self.look, self.expand = _conv2d(c, small, 1), _conv2d(small, small, 3), _conv2d(small, c, 1)

    def forward(self, x: torch.Tensor, t: int) -> torch.Tensor:
        small = self.squeeze(x)
        other = self.look(small)
        back, ahead = _neighbours(small.unflatten(0, (-1, t)), other.unflatten(0, (-1, t)), self.span)
        back, ahead = (torch.sigmoid(self.expand(y.flatten(0, 1))) for y in (back, ahead))
        return x + x * ((back + ahead) / 2)


def _neighbours(x: torch.Tensor, other: torch.Tensor, span: int) -> Pair:
    """Differences of each frame of x [b t c h w] to `other` `span` frames before and after; 0 where none is."""
    span = min(span, max(x.shape[1] - 1, 1))
    back = F.pad(x[:, span:] - other[:, :-span], (0,) * 6 + (span, 0))
    ahead = F.pad(x[:, :-span] - other[:, span:], (0,) * 6 + (0, span))
    return back, ahead


def _mix(x: torch.Tensor, taps: torch.Tensor, t: int) -> torch.Tensor:
    """Channel-wise convolution of x [b·t c h w] over three frames with taps [3 c]."""
    x = F.pad(x.unflatten(0, (-1, t)), (0,) * 6 + (1, 1))
    before, now, after = taps[..., None, None]
    return (x[:, :-2] * before + x[:, 1:-1] * now + x[:, 2:] * after).flatten(0, 1)


def _conv2d(c: int, d: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c, d, size, stride, size // 2, bias=False)


def _norm(kind: str, c: int) -> nn.Module:
    """Named as in our `layers.norm.Norm`."""
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(c) if kind == "batch" else _group_norm(c)))


def _group_norm(c: int) -> nn.GroupNorm:
    """Groups of 8 channels, or of the largest divisor below."""
    size = next(n for n in range(min(8, c), 0, -1) if c % n == 0)
    return nn.GroupNorm(c // size, c)


class VideoResNet(nn.Module):
    """torchvision.models.video's VideoResNet: its parameters' names, its order, its arithmetic."""

    def __init__(self, kind: str, width: int = 64) -> None:
        super().__init__()
        self.kind, self.width = kind, width
        if kind == "r2plus1d":
            middle = width * 45 // 64
            self.stem = nn.Sequential(
                *(_conv3d(3, middle, (1, 7, 7), (1, 2, 2)), nn.BatchNorm3d(middle), nn.ReLU()),
                *(_conv3d(middle, width, (3, 1, 1), (1, 1, 1)), nn.BatchNorm3d(width), nn.ReLU()),
            )
        else:
            self.stem = nn.Sequential(_conv3d(3, width, (3, 7, 7), (1, 2, 2)), nn.BatchNorm3d(width), nn.ReLU())
        c = width
        for i in range(4):
            d, stride = width * 2**i, 1 if i == 0 else 2
            stage = "space" if kind == "mc3" and i else "r3d" if kind == "mc3" else kind
            setattr(self, f"layer{i + 1}", nn.Sequential(_VideoBlock(stage, c, d, stride), _VideoBlock(stage, d, d, 1)))
            c = d
        self.fc = nn.Linear(c, 400)

    def forward(self, x: torch.Tensor) -> Pair:
        """x [b c t h w]; tokens are the last feature map [b t' h' w' d], pooled their mean. `fc` only has weights."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))
        return x.movedim(1, -1), x.mean((2, 3, 4))


class _VideoBlock(nn.Module):
    def __init__(self, kind: str, c: int, d: int, stride: int) -> None:
        super().__init__()
        middle = (c * d * 3 * 3 * 3) // (c * 3 * 3 + 3 * d)
        self.conv1 = nn.Sequential(_factors(kind, c, d, middle, stride), nn.BatchNorm3d(d), nn.ReLU())
        self.conv2 = nn.Sequential(_factors(kind, d, d, middle, 1), nn.BatchNorm3d(d))
        self.downsample = None
        if stride != 1 or c != d:
            strides = (1 if kind == "space" else stride, stride, stride)
            self.downsample = nn.Sequential(nn.Conv3d(c, d, 1, strides, bias=False), nn.BatchNorm3d(d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.conv2(self.conv1(x)) + skip)


def _conv3d(c: int, d: int, size: tuple[int, ...], strides: tuple[int, ...]) -> nn.Conv3d:
    return nn.Conv3d(c, d, size, strides, [k // 2 for k in size], bias=False)


def _factors(kind: str, c: int, d: int, middle: int, stride: int) -> nn.Module:
    """The convolution of a block; named as torchvision's Conv3DSimple, Conv3DNoTemporal and Conv2Plus1D."""
    if kind == "r3d":
        return _conv3d(c, d, (3, 3, 3), (stride,) * 3)
    if kind == "space":
        return _conv3d(c, d, (1, 3, 3), (1, stride, stride))
    space = _conv3d(c, middle, (1, 3, 3), (1, stride, stride))
    return nn.Sequential(space, nn.BatchNorm3d(middle), nn.ReLU(), _conv3d(middle, d, (3, 1, 1), (stride, 1, 1)))
