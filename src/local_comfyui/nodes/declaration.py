"""How a node type is declared: its inputs, its outputs, and the function that does its work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from local_comfyui.folders import Folders

MAX_RESOLUTION = 16384

Json = dict[str, Any]


@dataclass(frozen=True)
class Input:
    """One input. `choices` makes it a list to choose from; it is a function because files come and go."""

    name: str
    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    choices: Callable[[Folders], list[str]] | None = None
    optional: bool = False

    @property
    def category(self) -> str:
        return "optional" if self.optional else "required"


class ResolvedInput(NamedTuple):
    """An input as the validator sees it: the type (a list of choices for a classic combo) and its limits."""

    type: str | list[str]
    options: Json
    choices: list[str] | None


@dataclass(frozen=True)
class NodeCall:
    """What a running node may use beside its inputs."""

    folders: Folders
    prompt_id: str
    node_id: str
    prompt: Json
    extra_pnginfo: Mapping[str, Any] | None
    report_progress: Callable[[int, int, Any], None]
    """Called with value, maximum and a preview picture or None. Raises when the prompt was interrupted."""
    pause: Callable[[float], None]
    """Sleeps, but not longer than the server lives."""
    exit_process: Callable[[int], None]


@dataclass(frozen=True)
class NodeResult:
    """`outputs` go to other nodes, `ui` to the client and into the history."""

    outputs: tuple[Any, ...] = ()
    ui: Json | None = None


@dataclass(frozen=True)
class NodeType:
    """One entry of `/object_info`. `module` other than `nodes` means ComfyUI's newer (V3) declaration form."""

    name: str
    display_name: str | None
    category: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    run: Callable[..., NodeResult]
    output_names: tuple[str, ...] | None = None
    output_node: bool = False
    metadata: bool = False
    """Takes the hidden inputs `prompt` and `extra_pnginfo`."""
    module: str = "nodes"
    modern: bool = False
    deprecated: bool = False
    checked_inputs: tuple[str, ...] = ()
    check: Callable[..., bool | str] | None = None
    """Custom validation of `checked_inputs`, which are then not held against their list of choices."""
    fingerprint: Callable[[Folders, Mapping[str, Any]], Any] | None = None
    """Part of the cache signature: the same inputs with another fingerprint are run again."""

    def input_named(self, name: str) -> Input | None:
        return next((entry for entry in self.inputs if entry.name == name), None)

    @property
    def return_types(self) -> tuple[str, ...] | list[str]:
        # A list in the newer form, a tuple in the classic one: it shows in the message of an index out of range.
        return list(self.outputs) if self.modern else self.outputs

    def resolve(self, entry: Input, folders: Folders) -> ResolvedInput:
        options = dict(entry.options)
        if entry.choices is None:
            return ResolvedInput(entry.type, options, None)
        choices = entry.choices(folders)
        if self.modern:
            return ResolvedInput("COMBO", {"multiselect": False, "options": choices, **options}, choices)
        return ResolvedInput(choices, options, choices)

    def describe(self, folders: Folders) -> Json:
        """The node's entry in `/object_info` (form: recording `probes`)."""
        inputs: dict[str, dict[str, Any]] = {"required": {}}
        for entry in self.inputs:
            kind, options, _ = self.resolve(entry, folders)
            declared: list[Any] = [kind, options] if options or self.modern else [kind]
            inputs.setdefault(entry.category, {})[entry.name] = declared
        if self.metadata:
            hidden = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
            inputs["hidden"] = {key: [value] if self.modern else value for key, value in hidden.items()}
        description: Json = {
            "input": inputs,
            "input_order": {category: list(entries) for category, entries in inputs.items()},
            "is_input_list": False,
            "output": list(self.outputs),
            "output_is_list": [False] * len(self.outputs),
            "output_name": list(self.output_names or self.outputs),
            "name": self.name,
            "display_name": self.display_name,
            "description": "",
            "python_module": self.module,
            "category": self.category,
            "output_node": self.output_node,
            "has_intermediate_output": False,
            "search_aliases": [],
        }
        if self.modern:
            description |= {
                "output_tooltips": [None] * len(self.outputs),
                "deprecated": self.deprecated,
                "experimental": False,
                "dev_only": False,
                "api_node": False,
            }
        elif self.deprecated:
            description["deprecated"] = True
        return description


def choice(name: str, *values: str, optional: bool = False, **options: Any) -> Input:
    """A combo with fixed values."""
    return Input(name, "COMBO", options, choices=lambda _: list(values), optional=optional)


def files(name: str, folder: str, *always: str, **options: Any) -> Input:
    """A combo of the model files in one of the model folders."""
    return Input(name, "COMBO", options, choices=lambda folders: [*(folders.model_files(folder) or []), *always])


def integer(name: str, default: int, low: int, high: int, step: int | None = None, **options: Any) -> Input:
    limits: Json = {"default": default, "min": low, "max": high}
    return Input(name, "INT", limits | ({} if step is None else {"step": step}) | options)


def number(name: str, default: float, low: float, high: float, step: float, **options: Any) -> Input:
    return Input(name, "FLOAT", {"default": default, "min": low, "max": high, "step": step} | options)
