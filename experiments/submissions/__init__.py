"""Files that published evaluation programs read, one file per format: `Submission().write(rows, folder)`.

`experiments.evaluate --submission=NAME` writes what `experiments/submissions/NAME.py` defines.
"""
