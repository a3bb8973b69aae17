"""Configs from and to YAML: nested mappings in, frozen configs out, and the same commented for people."""

import dataclasses
import textwrap
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import docstring_parser
import yaml

from kerasbn import checks, files
from kerasbn.checks import InputError
from kerasbn.config.format import check_format
from kerasbn.config.models import MODEL_CONFIGS, ModelConfig
from kerasbn.schedules import Schedule

Config = TypeVar("Config")


def _plain(value: Any) -> Any:
    """Return a config as what YAML has: mappings, lists and scalars."""
    if isinstance(value, Schedule):
        return value.to_dict()
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
    if "format" in values:  # before the keys, which a newer format may have more of
        check_format(values["format"])
    hints = typing.get_type_hints(actual)
    valid = [f.name for f in dataclasses.fields(actual)]
    checks.known_keys(subject or "config", values, valid)
    given = dict(values)
    for key, value in values.items():
        if dataclasses.is_dataclass(hints[key]) and not isinstance(value, typing.cast(type, hints[key])):
            part = f"{subject}.{key}".lstrip(".")
            if not isinstance(value, Mapping):
                raise InputError(part, "a mapping of keys to values", repr(value))
            given[key] = from_dict(typing.cast(type, hints[key]), value, part)
    return actual(**given)


def read_config(kind: type[Config], path: str | Path) -> Config:
    """Return the config in a YAML file.

    Args:
        kind: A config class of this module.
        path: The file.

    Returns:
        The config.

    Raises:
        InputError: If the file is missing, is no YAML mapping, or holds what does not fit.

    Example:
        >>> write_config(TrainConfig(name="flowers"), "flowers.yaml")
        >>> read_config(TrainConfig, "flowers.yaml").name
        'flowers'
    """
    return from_dict(kind, read_yaml(path))


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's own loader keeps the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = [key for key in keys if keys.count(key) > 1]
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"the key {repeated[0]!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, or raise an `InputError` that says what is wrong with it."""
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise InputError("--config", "a YAML file", f"{str(path)!r}, which does not exist") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise InputError("--config", f"{str(path)!r} to be readable YAML", f"{error.problem}{line}") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: no UTF-8, a huge number
        raise InputError("--config", f"{str(path)!r} to be readable YAML", str(error)) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError("--config", f"{str(path)!r} to be a mapping of keys to values", type(values).__name__)
    return values


def write_config(config: Any, path: str | Path) -> None:
    """Write a config as YAML that `read_config` and the command line take.

    Args:
        config: Any config of this package.
        path: The file, which is written whole or not at all.

    Raises:
        InputError: If something is there that is no regular file.

    Example:
        >>> write_config(ExportConfig(run="runs/digits"), "export.yaml")
        >>> read_config(ExportConfig, "export.yaml").run
        'runs/digits'
    """
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

    Example:
        >>> print(commented(ExportConfig(run="runs/digits")))
        # Run directory of `kerasbn train`, ...
        run: runs/digits
        ...
    """
    docs = field_docs(type(config))
    lines: list[str] = []
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        lines += textwrap.wrap(
            docs.get(f.name, ""), 100, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}#   "
        )
        if dataclasses.is_dataclass(value) and not isinstance(value, Schedule):
            lines += [f"{indent}{f.name}:", commented(value, indent + "  ")]
        else:
            text = yaml.safe_dump(_plain(value), default_flow_style=True, allow_unicode=True, width=10**6)
            lines.append(f"{indent}{f.name}: {text.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines)
