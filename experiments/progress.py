"""The progress bar of training and scoring."""

from tqdm import tqdm


def bar(total: int, title: str, *, start: int = 0, unit: str = "it", keep: bool = False, shown: bool = True) -> tqdm:
    """A live bar on a terminal; a line now and then in a log file. keep: it stays when it is full."""
    progress = tqdm(total=total, initial=start, desc=title, unit=unit, disable=not shown, leave=keep, mininterval=1)
    if shown and not getattr(progress.fp, "isatty", bool)():
        progress.mininterval = 15
    return progress


def share(total: float, title: str, *, start: float = 0.0) -> tqdm:
    """A bar over work of known amount: percent, time past and left by the mean rate; set `n`, then `refresh()`."""
    progress = bar(1, title)
    progress.bar_format = "{desc}: {percentage:3.0f} % |{bar:20}| {elapsed}, {remaining} left{postfix}"
    progress.total, progress.n, progress.initial = total, start, start
    return progress
