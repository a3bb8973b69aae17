"""Train a classifier from Python: `python scripts/train.py [SOURCE] [EPOCHS]`; prints the run directory last."""

import sys

from kerasbn.config import DataConfig, MLPConfig, TrainConfig, TrainingConfig
from kerasbn.training import train


def main(source: str = "digits", epochs: str = "20") -> None:
    """Train a multilayer perceptron on one of the bundled sets or on an .npz file."""
    config = TrainConfig(
        data=DataConfig(source=source),
        model=MLPConfig(units=(128, 64), dropout=0.2),
        training=TrainingConfig(epochs=int(epochs), learning_rate=3e-3, decay="exponential", decay_rate=0.95),
    )
    run = train(config)
    print(f"validation accuracy {run.metrics['validation']['accuracy']:.4f}")
    print(f"test accuracy       {run.metrics['test']['accuracy']:.4f}")
    print(run.directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
