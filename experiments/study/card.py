"""The model card of a study's model: README.md, in the form that model hubs show."""

import math
from collections.abc import Mapping
from typing import Any

_HEAD = "---\nlicense: apache-2.0\nlibrary_name: mmdf_jax\ntags:\n- deepfake-detection\n---\n"
_LIMITS = "The score of a clip is an estimate. It is no proof, and it accuses nobody."
_STAND_IN = (
    "It has learnt from the embedded dataset, rendered faces and voices. What it says of real recordings means nothing."
)


def write(name: str, row: Mapping[str, str], data: Mapping[str, Any], label: str, uses: str) -> str:
    """The card's text. row: of the run's results.csv. data: of its clips, as system_file.data_of says.

    label: what it is judged by. uses: what takes the model.
    """
    numbers = {key: cell for key, cell in row.items() if key not in ("Model", "Modality") and cell}
    return "\n".join(
        (
            _HEAD,
            f"# {name}\n",
            f"{row['Model']} over {row['Modality']}, of data `{data['dataset'] or 'unknown'}`; the best on validation."
            f" Its score is P(fake) of a clip, judged by its {label.replace('_', ' ')}.\n",
            "## Results\n",
            "On the test split. Thresholds come from validation; low and high are 95 % intervals over identities.\n",
            "| | |\n|---|---|",
            *(f"| {key} | {_rounded(cell)} |" for key, cell in numbers.items()),
            "\n## Use\n",
            f"{uses}\n",
            "## Limits\n",
            f"{_LIMITS} {_STAND_IN}" if data["embedded"] else _LIMITS,
            "",
        )
    )


def _rounded(cell: str) -> str:
    try:
        number = float(cell)
    except ValueError:
        return cell
    return f"{number:.0f}" if math.isfinite(number) and number.is_integer() else f"{number:.4g}"
