"""The node types of the embedded server, by name."""

from __future__ import annotations

from collections.abc import Mapping

from local_comfyui.nodes import batch, composition, faulty, filters, mask, model, primitive, saving, size, source
from local_comfyui.nodes.declaration import NodeType

_MODULES = (source, size, filters, batch, composition, mask, saving, primitive, model)


def node_types(*, test_nodes: bool = False) -> Mapping[str, NodeType]:
    """Every node type by name. The test nodes are there only when asked for."""
    known = {node.name: node for module in _MODULES for node in module.NODES}
    return known | ({node.name: node for node in faulty.NODES} if test_nodes else {})
