"""Configs from and to YAML: nested mappings in, frozen configs out, and the same commented for people."""

import contextlib
import dataclasses
import textwrap
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import docstring_parser
import yaml

from kerasbn import checks, files
from kerasbn.checks import InputError
from kerasbn.config.format import check_version
from kerasbn.config.models import MODEL_CONFIGS, ModelConfig

Config = TypeVar("Config")


def _plain(value: Any) -> Any:
    """Return a config as what YAML has: mappings, lists and scalars."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested dicts, the model's family first.

    Args:
        config: Any config of this module.

    Returns:
        What `from_dict` takes.

    Example:
        >>> to_dict(MLPConfig(units=(64,)))["units"]
        [64]
    """
    return _plain(config)


def _build(annotation: Any, value: Any, subject: str) -> Any:
    """Return `value` as `annotation` asks, or raise an `InputError` that names `subject`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (annotation,) = (a for a in arguments if a is not type(None))
        return _build(annotation, value, subject)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(subject, "a list", repr(value))
        if arguments[-1] is not Ellipsis and len(value) != len(arguments):
            raise InputError(subject, f"a list of {len(arguments)}", repr(value))
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(_build(kind, item, subject) for kind, item in zip(kinds, value, strict=True))
    if origin is Literal:
        return checks.one_of(subject, value, arguments)
    if dataclasses.is_dataclass(annotation):
        if not isinstance(value, Mapping):
            raise InputError(subject, "a mapping of keys to values", repr(value))
        return from_dict(typing.cast(type, annotation), value, subject)
    if annotation is float and isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):  # YAML 1.1 reads 1e-3 as text
            return float(value)
    if annotation is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, annotation) or (annotation is not bool and isinstance(value, bool)):
        kind = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[annotation]
        raise InputError(subject, kind, repr(value))
    return value


def from_dict(kind: type[Config], values: Mapping[str, Any], subject: str = "") -> Config:
    """Return a config of the given kind from nested dicts; unknown keys are refused.

    Args:
        kind: A config class of this module.
        values: Keys and values; keys left out keep their defaults.
        subject: Where the values stand, for the messages.

    Returns:
        The config.

    Raises:
        InputError: If a key is unknown or a value does not fit.

    Example:
        >>> from_dict(TrainConfig, {"model": {"name": "resnet", "depth": 14}}).model.depth
        14
    """
    actual: Any = kind
    if kind is ModelConfig:
        name = checks.one_of("model.name", values.get("name", "mlp"), tuple(MODEL_CONFIGS))
        actual = MODEL_CONFIGS[name]
    if "version" in values:  # before the keys, which a newer format may have more of
        check_version(values["version"])
    hints = typing.get_type_hints(actual)
    valid = [f.name for f in dataclasses.fields(actual)]
    checks.known_keys(subject or "config", values, valid)
    return actual(**{key: _build(hints[key], value, f"{subject}.{key}".lstrip(".")) for key, value in values.items()})


def read_config(kind: type[Config], path: str | Path) -> Config:
    """Return the config in a YAML file.

    Args:
        kind: A config class of this module.
        path: The file.

    Returns:
        The config.

    Raises:
        InputError: If the file is missing, is no YAML mapping, or holds what does not fit.
    """
    return from_dict(kind, read_yaml(path))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, or raise an `InputError` that says what is wrong with it."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("--config", "a YAML file", f"{str(path)!r}, which does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("--config", f"{str(path)!r} to be readable YAML", str(error)) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError("--config", f"{str(path)!r} to be a mapping of keys to values", type(values).__name__)
    return values


def write_config(config: Any, path: str | Path) -> None:
    """Write a config as YAML that `read_config` and the command line take."""
    files.write_text(path, yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))


def field_docs(kind: type) -> dict[str, str]:
    """Return what the docstrings of a config class and its bases say of each field."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for parameter in docstring_parser.parse(base.__doc__ or "").params:
            docs[parameter.arg_name] = " ".join((parameter.description or "").split())
    return docs


def commented(config: Any, indent: str = "") -> str:
    """Return a config as YAML with what each key means, its unit and its range as comments.

    Args:
        config: Any config of this package.
        indent: Spaces before each line.

    Returns:
        YAML that `read_config` and the command line take.
    """
    docs = field_docs(type(config))
    lines: list[str] = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        lines += textwrap.wrap(
            docs.get(f.name, ""), 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   "
        )
        if dataclasses.is_dataclass(value):
            lines += [f"{indent}{f.name}:", commented(value, indent + "  ")]
        else:
            text = yaml.safe_dump(_plain(value), default_flow_style=True, allow_unicode=True, width=10**6)
            lines.append(f"{indent}{f.name}: {text.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines)
