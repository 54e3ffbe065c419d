"""The verdict on one's own files: video, sound, pictures, folders of frames.

    python -m experiments.detect FILE… --model=runs/hierarchical --out=verdicts
    python -m experiments.detect FILE… --model=study --prior=0.01 --json

--model is a trained run, an exported model, a study (its system), or a system.json. Each file gets a few lines. Where
nothing should be concluded, the first says so, and why. Else it says how many times more probable what was found is if
the file is manipulated than if it is genuine, for a system trained on named data. The same by stream follows. In --out
there are verdict.json (its schema is experiments/verdict/schema.json) and report.html, one page without scripts; of
several files report.html lists the others. --prior is P(fake) that a reader holds before the evidence.

Exit code: 0 where every file could be judged, also where the system abstains; 1 where one could not, and its line says
why.
"""

import json
import pathlib
import re
import sys
from collections.abc import Sequence

from absl import app, flags
from absl import logging as absl_logging

from experiments import command_line


def main(argv: list[str]) -> None:
    """Runs the command of the flags."""
    if len(argv) < 2:
        raise app.UsageError("expected one file or more")
    with command_line.errors():
        given = flags.FLAGS
        if not 0 < given.prior < 1:
            raise ValueError(f"--prior={given.prior:g}: expected a probability between 0 and 1, such as 0.5")
        every = run(
            argv[1:],
            pathlib.Path(given.model),
            prior=given.prior,
            out=pathlib.Path(given.out) if given.out else None,
            allow=tuple(given.allow),
            as_json=given.json,
        )
    if not every:
        sys.exit(1)


def run(
    paths: Sequence[str],
    model: pathlib.Path,
    *,
    prior: float = 0.5,
    out: pathlib.Path | None = None,
    allow: Sequence[str] = (),
    as_json: bool = False,
) -> bool:
    """Judges the files, prints what it finds, and writes it to the folder `out`; whether all could be judged.

    Raises:
      FileNotFoundError, ValueError: there is no such model, it cannot be used, or a file is named twice; one line.
    """
    from experiments import files, own_files
    from experiments.verdict import detector, examine, page, verdict

    own_files.refuse_twice(paths)
    own_files.give_memory_back()
    absl_logging.set_verbosity(absl_logging.WARNING)  # Orbax tells of every step it takes
    system = detector.load(model, allow)
    verdicts: dict[str, verdict.Verdict] = {}
    pages: dict[str, str] = {}
    first = True
    for one in examine.examine(paths, system, shown=not as_json):
        found = verdict.verdict(one, system, prior)
        if out:
            name = "report.html" if len(paths) == 1 else f"{paths.index(one.path) + 1:03d}-{_safe(one.path)}.html"
            files.write_text(out / name, page.page(found))
            pages[one.path] = name
        verdicts[one.path] = found.light()
        if not as_json:
            if first:
                print(found.content["statement"])
            print("\n".join(found.terminal()))
        first = False
    ordered = [verdicts[path] for path in paths]
    document = json.dumps(verdict.document([each.content for each in ordered]), indent=1, allow_nan=False) + "\n"
    if as_json:
        print(document, end="")
    if out:
        files.write_text(out / "verdict.json", document)
        if len(paths) > 1:
            files.write_text(out / "report.html", page.index([(each, pages[each.examined.path]) for each in ordered]))
        if not as_json:
            print(f"Wrote {out / 'verdict.json'} and {out / 'report.html'}")
    return all(each.judged for each in ordered)


def _safe(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", pathlib.Path(path).name)[:80]


def define_flags() -> None:
    """The command's flags; apart, so that this module can be imported beside other commands."""
    flags.DEFINE_string("model", "runs/hierarchical", "A trained run, an exported model, a study or a system.json.")
    flags.DEFINE_string("out", "", "Folder of verdict.json and report.html; none are written without it.")
    flags.DEFINE_float("prior", 0.5, "P(fake) before the evidence.")
    flags.DEFINE_bool("json", False, "Print the content of verdict.json instead of lines.")
    flags.DEFINE_list("allow", [], "Packages outside the project that names in the run's config may lie in.")


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command_line.parse_flags)
