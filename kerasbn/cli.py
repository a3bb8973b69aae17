"""The command line: YAML configs with overrides; each command imports its room only when it runs."""

import argparse
import dataclasses
import shlex
import sys
import traceback
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

import kerasbn
from kerasbn.checks import InputError, TaskError, nearest, one_of
from kerasbn.config import (
    MODEL_CONFIGS,
    ExportConfig,
    ModelConfig,
    PredictConfig,
    ServeConfig,
    TrainConfig,
    TuneConfig,
    commented,
    from_dict,
)
from kerasbn.config.documents import field_docs, read_yaml
from kerasbn.config.fields import without_none

_FAILED = 1
_WRONG_INPUT = 2
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_OUT_OF_RESOURCES = ("ResourceExhaustedError",)  # TensorFlow's, by name: its class is there only once that is loaded
_LONGEST = 2000  # characters of a message: TensorFlow's can go on for pages


def _start(arguments: argparse.Namespace) -> None:
    """Load TensorFlow, which takes seconds: after what can be checked without it."""
    if not arguments.debug:
        from kerasbn.quiet import start_tensorflow

        start_tensorflow()


def _train(config: TrainConfig, arguments: argparse.Namespace) -> None:
    _start(arguments)
    from kerasbn.cli_output import show_run
    from kerasbn.training import resume, train

    show_run(train(config) if arguments.resume is None else resume(arguments.resume))


def _tune(config: TuneConfig, arguments: argparse.Namespace) -> None:
    _start(arguments)
    from kerasbn.cli_output import search_with_progress, show_study

    show_study(search_with_progress(config))


def _export(config: ExportConfig, arguments: argparse.Namespace) -> None:
    _start(arguments)
    from kerasbn.export import export_run

    version = export_run(config)
    print(f"exported    {version}\nnext        kerasbn serve {shlex.quote(str(version.parent))}")


def _serve(config: ServeConfig, arguments: argparse.Namespace) -> None:
    from kerasbn.serving import find_version, serve

    find_version(config.model)
    _start(arguments)
    serve(config)


def _predict(config: PredictConfig, arguments: argparse.Namespace) -> None:
    from kerasbn.progress import reporting
    from kerasbn.serving import find_version, predict_file

    find_version(config.model)
    _start(arguments)
    with reporting("predicting", 1.0, "file") as report:
        path = predict_file(config, lambda done, total: report(round(done / total, 3), f"{done}/{total}", line=False))
    print(f"wrote       {path}")


@dataclass(frozen=True)
class _Command:
    """A command: what it takes, and what it does."""

    config: type
    run: Callable[..., None]
    summary: str


_COMMANDS: Mapping[str, _Command] = types.MappingProxyType(
    {
        "train": _Command(TrainConfig, _train, "train a model and write a run directory"),
        "tune": _Command(TuneConfig, _tune, "search hyperparameters and write the best config"),
        "export": _Command(ExportConfig, _export, "write a run's model as a versioned SavedModel"),
        "serve": _Command(ServeConfig, _serve, "answer TensorFlow Serving's HTTP requests with a SavedModel"),
        "predict": _Command(PredictConfig, _predict, "classify a file with a SavedModel"),
    }
)


def _leaves(kind: type, prefix: str = "") -> Iterator[tuple[str, Any, str, str]]:
    """Yield dotted key, type, default and meaning of everything in a config that has no parts of its own."""
    hints, docs = typing.get_type_hints(kind), field_docs(kind)
    for f in dataclasses.fields(kind):
        key = prefix + f.name
        if hints[f.name] is ModelConfig:
            yield from _model_leaves(key + ".")
        elif dataclasses.is_dataclass(hints[f.name]):
            yield from _leaves(typing.cast(type, hints[f.name]), key + ".")
        else:
            default = "" if f.default is dataclasses.MISSING else f" (default: {yaml_of(f.default)})"
            yield key, hints[f.name], default, docs.get(f.name, "")


def yaml_of(value: Any) -> str:
    """Return a scalar or a tuple of them as one line of YAML."""
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").strip()


def _model_leaves(prefix: str) -> Iterator[tuple[str, Any, str, str]]:
    """Yield the keys of all families, each once, with the families that have it."""
    families: dict[str, list[tuple[str, Any, str, str]]] = {}
    for name, kind in MODEL_CONFIGS.items():
        for key, hint, default, doc in _leaves(kind, prefix):
            families.setdefault(key, []).append((name, hint, default, doc))
    for key, found in families.items():
        _, hint, default, doc = found[0]
        if key == prefix + "name":
            yield key, str, " (default: mlp)", f"The family: {', '.join(MODEL_CONFIGS)}."
        elif len(found) == len(MODEL_CONFIGS):
            yield key, hint, default, doc
        else:
            doc = " ".join(f"[{name}] {doc}{default}" for name, _, default, doc in found)
            yield key, hint, "", doc


def _is_text(hint: Any) -> bool:
    return without_none(hint) is str


def _value(text: str, hint: Any, key: str) -> Any:
    """Return what stands on the command line as YAML has it; lists may be written without brackets."""
    if _is_text(hint) or typing.get_origin(hint) is typing.Literal:
        return None if text == "null" and _is_text(hint) and hint is not str else text
    kind = without_none(hint)
    try:
        value = yaml.safe_load(text)
        if typing.get_origin(kind) is not tuple or isinstance(value, list) or (value is None and text):
            return value
        parts = [part.strip() for part in text.split(",") if part.strip()]
        # Names of columns stay texts: "7" is a column and not a number.
        return parts if typing.get_args(kind)[0] is str else [yaml.safe_load(part) for part in parts]
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(key, "a value in YAML", repr(text)) from error


def _required(command: _Command) -> list[str]:
    """Return the keys without a default, which are words and not options."""
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(command.config) if f.default is missing and f.default_factory is missing]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are messages like all others."""

    def error(self, message: str) -> typing.NoReturn:
        raise InputError(self.prog, "options with their values", message, f"See `{self.prog} --help`.")


def _parser(name: str, command: _Command) -> argparse.ArgumentParser:
    parser = _Parser(f"kerasbn {name}", description=command.summary, allow_abbrev=False)
    parser.add_argument("--config", metavar="FILE", help="YAML file with these keys; options override it")
    parser.add_argument("--print-config", action="store_true", help="print the whole config with what each key means")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and TensorFlow's own messages")
    if name == "train":
        parser.add_argument("--resume", metavar="RUN_DIR", help="go on with a run that was interrupted")
    for key, _, default, doc in _leaves(command.config):
        if key == "format":  # of files; on a command line there is but one
            continue
        text = (doc + default).replace("%", "%%")
        if key in _required(command):
            parser.add_argument(key, nargs="?", default=argparse.SUPPRESS, help=text)
        else:
            parser.add_argument(f"--{key}", metavar="VALUE", action="append", default=argparse.SUPPRESS, help=text)
    return parser


def _overrides(arguments: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return the options that were given as nested mappings."""
    nested: dict[str, Any] = {}
    for key, hint, _, _ in _leaves(kind):
        if key in arguments:
            place = nested
            *parents, last = key.split(".")
            for parent in parents:
                place = place.setdefault(parent, {})
            given = arguments[key]
            values = [_value(text, hint, key) for text in ([given] if isinstance(given, str) else given)]
            if len(values) > 1 and typing.get_origin(without_none(hint)) is not tuple:
                raise InputError(f"--{key}", "one value", f"{len(values)}", "Give it once.")
            place[last] = values[0] if len(values) == 1 else [item for value in values for item in value or ()]
    return nested


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: _merge(base.get(key), value) for key, value in over.items()}}


def _config(name: str, command: _Command, argv: Sequence[str]) -> tuple[Any, argparse.Namespace]:
    """Return the config of a command line: the file's keys, with the options over them."""
    parser = _parser(name, command)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [f"--{key}" for key, *_ in _leaves(command.config) if key not in (*_required(command), "format")]
        options += ["--config", "--print-config", "--debug", *(["--resume"] if name == "train" else [])]
        word = unknown[0].split("=")[0]
        if not word.startswith("-"):
            remedy = f"See `kerasbn {name} --help`."
            if name in ("train", "tune"):
                remedy = f"If it is the data: --data.source {shlex.quote(word)}"
            raise InputError(f"kerasbn {name}", "no further words", repr(word), remedy)
        remedy = nearest(word, options) or f"See `kerasbn {name} --help`."
        raise InputError(f"kerasbn {name}", "an option that it has", repr(word), remedy)
    given = sorted({key for key, *_ in _leaves(command.config)} & vars(arguments).keys())
    if name == "train" and arguments.resume is not None and (given or arguments.config is not None):
        received = f"--{given[0]}" if given else "--config"
        raise InputError("--resume", "no other keys: a run goes on as it began", received, "Leave it out.")
    values = {} if arguments.config is None else read_yaml(arguments.config)
    values = _merge(values, _overrides(vars(arguments), command.config))
    for key in _required(command):
        if key not in values and not arguments.print_config:
            raise InputError(f"kerasbn {name}", key.upper(), "none", field_docs(command.config)[key])
        values.setdefault(key, key.upper())  # to be filled in
    return from_dict(command.config, values), arguments


def _usage() -> str:
    lines = [f"  {name:<9} {command.summary}" for name, command in _COMMANDS.items()]
    return "\n".join(
        [
            f"usage: kerasbn {{{','.join(_COMMANDS)}}} [--config FILE] [--KEY VALUE ...]",
            "",
            "Build, tune and ship batch-normalised classifiers.",
            "",
            *lines,
            "",
            "kerasbn COMMAND --help           the keys of a command",
            "kerasbn COMMAND --print-config   all defaults with their units, as YAML",
            "kerasbn --version                the version",
        ]
    )


def _run(argv: Sequence[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        print(_usage())
        return
    if argv[0] == "--version":
        print(f"kerasbn {kerasbn.__version__}")
        return
    one_of("command", argv[0], _COMMANDS)
    command = _COMMANDS[argv[0]]
    config, arguments = _config(argv[0], command, argv[1:])
    if arguments.print_config:
        print(commented(config))
        return
    command.run(config, arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, and return its exit code.

    Args:
        argv: The words after `kerasbn`; None: those the program was called with.

    Returns:
        0; 2 if what the user gave cannot be used, 1 if the machine or the task itself is in the way (one message on
        standard error); 130 after Ctrl-C.

    Raises:
        Exception: Whatever else goes wrong is a defect, and comes with its traceback.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
        _run(argv)
    except InputError as error:
        if "--debug" in argv:
            traceback.print_exc()
        else:
            print(f"kerasbn: {error}", file=sys.stderr)
        return _WRONG_INPUT
    except Exception as error:
        # Not the user's input and not a defect either: the machine, or a task that cannot be done. Whatever else
        # it is comes with its traceback.
        known = isinstance(error, OSError | MemoryError | TaskError) or type(error).__name__ in _OUT_OF_RESOURCES
        if "--debug" in argv or not known:
            raise
        text = str(error).strip() or "there is not enough memory"
        print(f"kerasbn: {text[:_LONGEST]}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt as interrupt:
        print(f"kerasbn: {str(interrupt) or 'stopped'}", file=sys.stderr)
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
