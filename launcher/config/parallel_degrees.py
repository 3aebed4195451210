"""How the processes of a run are laid out: the degrees of every way of splitting, held against how many there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

KEYS = {"pipeline": "num_stages", "replicate": "replicate_size", "shard": "shard_size", "tensor": "tensor_size"}
"""The axes with their keys in a `parallel` node, from the outermost to the innermost: ranks that are neighbours split
the same layer, which exchange most."""


@dataclass(frozen=True)
class Degrees:
    """Over how many ranks each thing is split. Their product is the number of processes.

    replicate  ranks with the same weights and other samples: gradients are averaged
    shard      ranks with a part of the weights each, gathered where needed, and other samples
    tensor     ranks that compute parts of the same layers, for the same samples
    pipeline   ranks with other layers of the same model
    """

    replicate: int = 1
    shard: int = 1
    tensor: int = 1
    pipeline: int = 1

    @property
    def world(self) -> int:
        return self.replicate * self.shard * self.tensor * self.pipeline

    @property
    def data(self) -> int:
        """Into how many shares a step's samples are cut."""
        return self.replicate * self.shard

    def data_rank(self, rank: int) -> int:
        """The share of the samples that a rank takes."""
        return rank // self.tensor % self.data

    def mesh(self, device_type: str, *needed: str) -> DeviceMesh:
        """The ranks as a mesh, outermost axis first, of the axes with more than one rank and of those `needed`.

        Every rank has to come here.
        """
        from torch.distributed.device_mesh import init_device_mesh

        sizes = {axis: getattr(self, axis) for axis in KEYS if getattr(self, axis) > 1 or axis in needed}
        return init_device_mesh(device_type, tuple(sizes.values()), mesh_dim_names=tuple(sizes))


def degrees(node: Mapping[str, Any], num_processes: int | None = None) -> Degrees:
    """The degrees that a `parallel` node asks for by `KEYS`, where null is what the others leave, and all for `num_stages`.

    Where neither `replicate_size` nor `shard_size` is a key, what is left has other samples. Raises ConfigError where the product is not `num_processes` (the
    node's own where it is None).
    """
    world = int(node.get("num_processes") or 1) if num_processes is None else num_processes
    given = {axis: node[key] for axis, key in KEYS.items() if key in node}
    if "pipeline" in given and given["pipeline"] is None:
        given["pipeline"] = world
    if not given.keys() & {"replicate", "shard"}:
        given["replicate"] = None
    known = {axis: int(size) for axis, size in given.items() if size is not None}
    low = [axis for axis, size in known.items() if size < 1]
    if low:
        raise ConfigError(f"parallel.{KEYS[low[0]]}={known[low[0]]}: at least 1 rank, or null for what is left")
    open_axes = [axis for axis in given if axis not in known]
    product = 1
    for size in known.values():
        product *= size
    words = " x ".join(f"{axis} {size}" for axis, size in known.items() if size > 1) or "1"
    if len(open_axes) > 1:
        keys = " and ".join(f"parallel.{KEYS[axis]}" for axis in open_axes)
        raise ConfigError(f"{keys}: only one of them can be what is left (null)")
    if world % product or (not open_axes and world != product):
        least = product if not open_axes or product > world else world // product * product
        raise ConfigError(
            f"parallel.num_processes={world} can not be laid out as {words}: "
            f"parallel.num_processes={least} can, or other sizes (parallel.{KEYS[next(iter(known))]})"
        )
    return Degrees(**known, **dict.fromkeys(open_axes, world // product))
