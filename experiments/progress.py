"""The progress bar of training and scoring."""

from tqdm import tqdm


def bar(total: int, title: str, *, start: int = 0, unit: str = "it", keep: bool = False, shown: bool = True) -> tqdm:
    """A live bar on a terminal; a line now and then in a log file. keep: it stays when it is full."""
    progress = tqdm(total=total, initial=start, desc=title, unit=unit, disable=not shown, leave=keep, mininterval=1)
    if shown and not getattr(progress.fp, "isatty", bool)():
        progress.mininterval = 15
    return progress
