"""The picture of all of kerasbn's learning-rate schedules, and of some that are composed of others: small multiples.

python scripts/benchmarks/schedules_picture.py [scripts/benchmarks/schedules.png]
"""

import io
import sys
import textwrap
import types
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from kerasbn import files
from kerasbn.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    Manual,
    OneCycle,
    PiecewiseConstant,
    Polynomial,
    Schedule,
    Staircase,
    Triangular,
    WarmUp,
    clip,
    join,
    repeat,
    scale,
)
from kerasbn.schedules.picture import draw

EPOCHS = 100
COLUMNS = 4
RATE = 0.2
CODE = types.MappingProxyType({"fontsize": 7.5, "family": "monospace", "parse_math": False})

PANELS: tuple[tuple[str, Schedule], ...] = (
    ("Constant", Constant(RATE)),
    ("Inverse time", InverseTime(RATE, decay_rate=0.1)),
    ("Exponential", Exponential(RATE, decay_rate=0.95)),
    ("Inverse square root", InverseSqrt(RATE)),
    ("Staircase", Staircase(RATE, decay_steps=20)),
    ("Piecewise constant", PiecewiseConstant((50, 75), (RATE, 0.05, 0.01))),
    ("Manual, the first ten epochs", Manual((0.1, 0.2, 0.2, 0.15, 0.15, 0.05, 0.1, 0.02, 0.01))),
    ("Linear", Linear(RATE, decay_steps=90)),
    ("Polynomial", Polynomial(RATE, decay_steps=90, power=3)),
    ("Cosine", Cosine(RATE, decay_steps=90, end_learning_rate=0.01)),
    ("Cosine with warm restarts", CosineRestarts(RATE, decay_steps=14)),
    ("... and lower peaks", CosineRestarts(RATE, decay_steps=20, period_factor=1, peak_factor=0.7)),
    ("Triangular", Triangular(0.02, RATE, step_size=12.5)),
    ("Triangular, half as high", Triangular(0.02, RATE, step_size=12.5, mode="triangular2")),
    ("Triangular, falling", Triangular(0.02, RATE, step_size=12.5, mode="exp_range", decay_rate=0.98)),
    ("One cycle", OneCycle(RATE, decay_steps=90)),
    ("Warm-up, linear", WarmUp(Cosine(RATE, decay_steps=70), warmup_steps=20)),
    (
        "Warm-up, exponential",
        WarmUp(Cosine(RATE, decay_steps=70), warmup_steps=20, shape="exponential", initial_learning_rate=0.002),
    ),
    (
        "Warm-up, constant",
        WarmUp(InverseSqrt(RATE), warmup_steps=10, shape="constant", initial_learning_rate=0.02),
    ),
    ("One cycle in three phases", OneCycle(RATE, decay_steps=90, pct_start=0.4, shape="linear", three_phase=True)),
    ("Joined: warm-up, stable, decay", join([WarmUp(Constant(RATE), warmup_steps=10), Linear(RATE, 30)], [60])),
    ("Scaled", scale(InverseTime(0.05, decay_rate=0.1), 4)),
    ("Clipped", clip(Exponential(0.3, decay_rate=0.95), minimum=0.02, maximum=RATE)),
    ("Repeated, with warm-up", repeat(WarmUp(Exponential(RATE, decay_rate=0.9), warmup_steps=5), period=30)),
)


def main(path: Path) -> None:
    """Draw all panels as a PNG file."""
    rows = -(-len(PANELS) // COLUMNS)
    figure = Figure(figsize=(13, 2.55 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, schedule) in zip(figure.subplots(rows, COLUMNS).flat, PANELS, strict=True):
        draw(axes, schedule, 10 if isinstance(schedule, Manual) else EPOCHS)
        axes.set_title(title, fontweight="bold", fontsize="medium", loc="left", pad=4)
        axes.set_xlabel(textwrap.fill(repr(schedule), 50, break_long_words=False), **CODE)
        axes.set_ylim(0, 1.07 * RATE)
    figure.supylabel("learning rate", fontsize="medium")
    figure.supxlabel("epoch", fontsize="medium")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    with files.whole_file(path) as temporary:
        Image.open(drawn).convert("RGB").quantize(128).save(temporary, optimize=True)  # half the bytes


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("schedules.png"))
