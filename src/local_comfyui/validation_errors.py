"""The error entries of a refused prompt, in the form and wording of recording `invalid_prompts`."""

from __future__ import annotations

import traceback
from typing import Any

from local_comfyui.nodes.declaration import Json

# A longer list is not sent back to the client.
LONGEST_SHOWN_LIST = 20


def error_entry(kind: str, message: str, details: str, extra_info: Json | None = None) -> Json:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info or {}}


def input_error(kind: str, message: str, details: str, name: str, config: list[Any] | None, **extra: Any) -> Json:
    return error_entry(kind, message, details, {"input_name": name, "input_config": config, **extra})


def number_limits_error(name: str, value: Any, config: list[Any]) -> Json | None:
    options = config[1]
    if "min" in options and value < options["min"]:
        message = f"Value {value} smaller than min of {options['min']}"
        return input_error("value_smaller_than_min", message, name, name, config, received_value=value)
    if "max" in options and value > options["max"]:
        message = f"Value {value} bigger than max of {options['max']}"
        return input_error("value_bigger_than_max", message, name, name, config, received_value=value)
    return None


def value_not_in_list(name: str, value: Any, config: list[Any], choices: list[str] | None) -> Json | None:
    if choices is None or value in choices:
        return None
    long = len(choices) > LONGEST_SHOWN_LIST
    shown = f"(list of length {len(choices)})" if long else str(choices)
    details = f"{name}: {value!r} not in {shown}"
    shown_config = None if long else config
    return input_error("value_not_in_list", "Value not in list", details, name, shown_config, received_value=value)


def custom_check_failed(name: str, answer: bool | str) -> Json:
    details = name if answer is False else f"{name} - {answer}"
    return error_entry("custom_validation_failed", "Custom validation failed for node", details, {"input_name": name})


def inner_exception(error: Exception, name: str, config: list[Any], link: list[Any]) -> Json:
    extra = {
        "exception_message": str(error),
        "exception_type": exception_name(error),
        "traceback": traceback.format_tb(error.__traceback__),
        "linked_node": link,
    }
    message = "Exception when validating inner node"
    return input_error("exception_during_inner_validation", message, str(error), name, config, **extra)


def exception_name(error: BaseException) -> str:
    """`ValueError`, `PIL.UnidentifiedImageError`: built-in names stand alone, others with their module."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
