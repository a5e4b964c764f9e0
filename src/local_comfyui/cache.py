"""Results of earlier prompts, found again by the signature of a node's inputs and of everything before it."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from local_comfyui.folders import Folders
from local_comfyui.graph import Prompt, is_link, linked_nodes
from local_comfyui.nodes.declaration import Json, NodeType
from local_comfyui.nodes.pictures import weight_of

log = logging.getLogger(__name__)

# ComfyUI 0.26 forgets results when memory runs short; here that is a fixed number of picture bytes.
DEFAULT_CAPACITY = 512 * 1024 * 1024


# What an entry weighs beside its pictures, in bytes: its signature has the inputs of all nodes before it.
ENTRY_WEIGHT = 4096


@dataclass(frozen=True)
class CacheEntry:
    outputs: tuple[Any, ...]
    ui: Json | None
    """`{"output": ..., "meta": ...}` of an output node, kept to announce it again."""

    @property
    def weight(self) -> int:
        return ENTRY_WEIGHT + weight_of(self.outputs)


class _Unequal:
    """Equal to nothing: a node whose fingerprint could not be taken is never answered from the cache."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__


class OutputCache:
    """Least recently used first out. Used by the runner's thread alone."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Hashable, CacheEntry] = OrderedDict()
        self._weight = 0

    def get(self, signature: Hashable) -> CacheEntry | None:
        entry = self._entries.get(signature)
        if entry is not None:
            self._entries.move_to_end(signature)
        return entry

    def put(self, signature: Hashable, entry: CacheEntry) -> None:
        self._entries[signature] = entry
        self._weight += entry.weight
        while self._weight > self._capacity and len(self._entries) > 1:
            _, forgotten = self._entries.popitem(last=False)
            self._weight -= forgotten.weight

    def clear(self) -> None:
        self._entries.clear()
        self._weight = 0


class Signatures:
    """The signatures of one prompt's nodes.

    A node's id is no part of its signature: two alike nodes share one result. Every literal input is, also
    those the node does not know: an unknown key changes nothing but makes the node run again.
    """

    def __init__(self, prompt: Prompt, node_types: Mapping[str, NodeType], folders: Folders) -> None:
        self._prompt = prompt
        self._node_types = node_types
        self._folders = folders
        self._fingerprints: dict[str, Hashable] = {}
        self._known: dict[str, Hashable] = {}

    def of(self, node_id: str) -> Hashable:
        if node_id not in self._known:
            ancestors = self._ancestors(node_id)
            position = {ancestor: index for index, ancestor in enumerate(ancestors)}
            self._known[node_id] = tuple(self._own_part(each, position) for each in (node_id, *ancestors))
        return self._known[node_id]

    def _ancestors(self, node_id: str) -> list[str]:
        """Everything the node depends on, in an order that depends on the links alone."""
        found: list[str] = []
        to_visit = [node_id]
        while to_visit:
            node = self._prompt.get(to_visit.pop())
            if node is None:
                continue
            by_input_name = {"inputs": dict(sorted(node["inputs"].items()))}
            for source in linked_nodes(by_input_name):
                if source not in found:
                    found.append(source)
                    to_visit.append(source)
        return found

    def _own_part(self, node_id: str, position: Mapping[str, int]) -> Hashable:
        node = self._prompt.get(node_id)
        if node is None:
            return _Unequal()
        inputs = [
            (name, ("ancestor", position[value[0]], value[1]) if is_link(value) else _hashable(value))
            for name, value in sorted(node["inputs"].items())
        ]
        return (node["class_type"], self._fingerprint(node_id), tuple(inputs))

    def _fingerprint(self, node_id: str) -> Hashable:
        if node_id not in self._fingerprints:
            node = self._prompt[node_id]
            take = self._node_types[node["class_type"]].fingerprint
            try:
                self._fingerprints[node_id] = take(self._folders, node["inputs"]) if take else None
            except (OSError, LookupError, TypeError, AttributeError) as error:
                log.warning("No fingerprint of node %s: %s", node_id, error)
                self._fingerprints[node_id] = _Unequal()
        return self._fingerprints[node_id]


def _hashable(value: Any) -> Hashable:
    if isinstance(value, Mapping):
        return tuple(sorted((str(key), _hashable(entry)) for key, entry in value.items()))
    if isinstance(value, list | tuple):
        return tuple(_hashable(entry) for entry in value)
    return value if value is None or isinstance(value, int | float | str | bytes) else _Unequal()
