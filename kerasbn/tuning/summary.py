"""Spaces and results in words, as KerasTuner prints them."""

import keras_tuner

from kerasbn.tuning.study import Study


def values_by_name(hp: keras_tuner.HyperParameters) -> dict[str, str]:
    """Return what each hyperparameter of a space is, and its value where it has one, by name."""
    described: dict[str, str] = {}
    for hyperparameter in hp.space:
        name = hyperparameter.name
        value = f" = {hp.values[name]!r}" if hp.is_active(hyperparameter) else ""
        text = f"{hyperparameter!r}{value}"
        described[name] = f"{described[name]}, {text}" if name in described else text
    return described


def space_summary(space: keras_tuner.HyperParameters) -> str:
    """Return the hyperparameters of a space, two lines each."""
    lines = ["Search space summary", f"Default search space size: {len(space.space)}"]
    for hyperparameter in space.space:
        config = hyperparameter.get_config()
        lines += [f"{config.pop('name')} ({type(hyperparameter).__name__})", str(config)]
    return "\n".join(lines)


def results_summary(study: Study, num_trials: int) -> str:
    """Return the best trials of a study with their hyperparameters and scores; failed ones come last."""
    lines = [
        "Results summary",
        f"Results in {study.directory}",
        f"Showing {num_trials} best trials",
        str(study.objective),
    ]
    for record in study.ranked[:num_trials]:
        lines += ["", f"Trial {record.number} summary", "Hyperparameters:"]
        lines += [f"{name}: {value}" for name, value in record.hyperparameters.values.items()]
        lines += [f"Score: {record.score}" if record.completed else f"Failed:\n{record.traceback}"]
    return "\n".join(lines)
