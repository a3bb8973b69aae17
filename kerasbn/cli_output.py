"""What the command line shows: how far a search is, and what is left when work is done."""

import shlex

from rich.console import Console
from rich.table import Table

from kerasbn.config import LearningRateSearchConfig
from kerasbn.diagnostics import RateRange, find_learning_rate
from kerasbn.progress import reporting
from kerasbn.training import Run, begin
from kerasbn.training.divergence import Origin


def show_run(run: Run) -> None:
    """Print the figures of a training run, where it lies, and what to do next."""
    metrics = run.metrics
    table = Table("", "examples", "accuracy", "log loss")
    for part in ("validation", "test"):
        figures = metrics[part]
        accuracy, log_loss = f"{figures['accuracy']:.4f}", f"{figures['log_loss']:.4f}"
        table.add_row(part, str(figures["examples"]), accuracy, log_loss)
    Console(highlight=False).print(table)
    print(f"best epoch  {metrics['best_epoch']} of {metrics['epochs']}, {metrics['seconds']:.1f} s")
    print(f"run         {run.directory}")
    directory = shlex.quote(str(run.directory))
    if metrics["status"] == "diverged":
        print(f"diverged    {Origin(**metrics['diverged'])}; the model of the best epoch before is kept")
        print(f"go on       kerasbn adjust {directory} --learning-rate X; kerasbn train --resume {directory}")
    if metrics["status"] == "interrupted":
        print("stopped     before its end; the model of the best epoch so far is kept")
        print(f"go on       kerasbn train --resume {directory}")
    print(f"next        kerasbn export {directory}")


def find_rate_with_progress(config: LearningRateSearchConfig) -> RateRange:
    """Search as `kerasbn.diagnostics.find_learning_rate` does, on the model and the data of a config."""
    begun = begin(config)
    train = begun.prepared.train
    with reporting(f"trying rates for {config.model_name}", config.steps, "steps") as report:
        return find_learning_rate(
            begun.model,
            (train.inputs, train.labels),
            batch_size=config.training.batch_size,
            minimum=config.minimum,
            maximum=config.maximum,
            steps=config.steps,
            seed=config.training.seed,
            on_step=lambda step, rate, loss: report(step, f"rate {rate:.2g}  loss {loss:.4g}", line=False),
        )


def show_rates(found: RateRange, config: LearningRateSearchConfig, train: str) -> None:
    """Print what a search for the learning rate has found, draw its picture, and print what to do next.

    Args:
        found: What it has found.
        config: Of the search.
        train: The command that trains with the same options, but for the rate and its scaling.
    """
    found.plot(config.picture)
    print(found)
    print(f"picture     {config.picture}")
    if found.suggestion is None:
        return
    rate = f"{found.suggestion:.2g}"
    if config.training.schedule is not None:
        print(f"next        kerasbn train, with {rate} for the highest rate of training.schedule")
        return
    # It was found with batches of the very size.
    scaling = "" if config.training.batch_scaling == "none" else " --training.batch_scaling none"
    print(f"next        {train} --training.learning_rate {rate}{scaling}")
