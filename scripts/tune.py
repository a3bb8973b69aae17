"""Search hyperparameters from Python, with a build function as KerasTuner has it: `python scripts/tune.py [TRIALS]`."""

import sys

import keras
import keras_tuner

from kerasbn.config import DataConfig
from kerasbn.data import load_splits, prepare
from kerasbn.losses import SoftmaxCrossEntropy
from kerasbn.models import create_model
from kerasbn.tuning import RandomSearch, one_minus_log

splits = load_splits(DataConfig(source="digits"))
prepared = prepare(splits)


def build_model(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Return a compiled model for the hyperparameters of a trial."""
    units = [hp.Int(f"units_{i}", 32, 128, sampling="log") for i in range(hp.Int("layers", 1, 2))]
    model = create_model("mlp", prepared.train.inputs.shape[1:], len(splits.class_names), units=units)
    optimizer = keras.optimizers.SGD(
        learning_rate=hp.Float("learning_rate", 1e-3, 1.0, sampling="log"),
        momentum=one_minus_log(hp, "momentum", 0.9, 0.999),
    )
    model.compile(optimizer, loss=SoftmaxCrossEntropy(), metrics=["accuracy"])
    return model


def main(trials: str = "5") -> None:
    """Search, and print the best trials and the test accuracy of the best model."""
    tuner = RandomSearch(
        build_model,
        objective="val_accuracy",
        max_trials=int(trials),
        seed=0,
        directory="studies",
        project_name="tune-script",
    )
    validation = (prepared.validation.inputs, prepared.validation.labels)
    tuner.search(prepared.train.inputs, prepared.train.labels, validation_data=validation, epochs=5, verbose=0)
    tuner.results_summary(num_trials=3)
    model = tuner.get_best_models()[0]
    logits = model.predict(prepared.test.inputs, verbose=0)
    print(f"test accuracy {(logits.argmax(axis=-1) == prepared.test.labels).mean():.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
