"""The progress bar of training and scoring."""

from tqdm import tqdm


def bar(
    total: float,
    title: str,
    *,
    start: float = 0,
    unit: str = "it",
    keep: bool = False,
    shown: bool = True,
    form: str | None = None,
) -> tqdm:
    """A live bar on a terminal; a line now and then in a log file. keep: it stays when it is full. form: tqdm's."""
    options = {"total": total, "initial": start, "desc": title, "unit": unit, "disable": not shown, "leave": keep}
    progress = tqdm(**options, mininterval=1, bar_format=form)
    if shown and not getattr(progress.fp, "isatty", bool)():
        progress.mininterval = 15
    return progress


def share(total: float, title: str, *, start: float = 0.0) -> tqdm:
    """A bar over work of known amount: percent, time past and left by the mean rate; set `n`, then `refresh()`."""
    form = "{desc}: {percentage:3.0f} % |{bar:20}| {elapsed}, {remaining} left{postfix}"
    return bar(total, title, start=start, form=form)
