"""Nodes for plain values: the Primitive family and PreviewAny."""

from __future__ import annotations

import json
import sys
from typing import Any

from local_comfyui.nodes.declaration import Input, NodeCall, NodeResult, NodeType


def _value(call: NodeCall, value: Any) -> NodeResult:
    return NodeResult((value,))


def _preview(call: NodeCall, source: Any) -> NodeResult:
    text = _as_text(source)
    return NodeResult((text,), {"text": [text]})


def _as_text(source: Any) -> str:
    if isinstance(source, str | int | float) or source is None:
        return str(source)
    try:
        return json.dumps(source, indent=4)
    except (TypeError, ValueError):
        return str(source)


def _primitive(name: str, display_name: str, value: Input, deprecated: bool = False) -> NodeType:
    return NodeType(
        name=name,
        display_name=display_name,
        category="utilities/primitive",
        inputs=(value,),
        outputs=(value.type,),
        run=_value,
        module="comfy_extras.nodes_primitive",
        modern=True,
        deprecated=deprecated,
    )


_LIMITS = {"min": -sys.maxsize, "max": sys.maxsize}

NODES = (
    _primitive(
        "PrimitiveString", "Text String (DEPRECATED)", Input("value", "STRING", {"multiline": False}), deprecated=True
    ),
    _primitive("PrimitiveStringMultiline", "Input Text", Input("value", "STRING", {"multiline": True})),
    _primitive("PrimitiveInt", "Int", Input("value", "INT", _LIMITS | {"control_after_generate": "fixed"})),
    _primitive("PrimitiveFloat", "Float", Input("value", "FLOAT", _LIMITS | {"step": 0.1})),
    _primitive("PrimitiveBoolean", "Boolean", Input("value", "BOOLEAN")),
    NodeType(
        name="PreviewAny",
        display_name="Preview as Text",
        category="utilities",
        inputs=(Input("source", "*"),),
        outputs=("STRING",),
        run=_preview,
        output_node=True,
        module="comfy_extras.nodes_preview_any",
    ),
)
