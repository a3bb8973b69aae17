"""Export a trained model from Python: `python scripts/export.py RUN_DIR [OUTPUT]`; prints the version directory."""

import sys

from kerasbn.config import ExportConfig
from kerasbn.export import export_run


def main(run: str, output: str | None = None) -> None:
    """Write the model of a run directory as a new version."""
    print(export_run(ExportConfig(run=run, output=output)))


if __name__ == "__main__":
    main(*sys.argv[1:])
