"""Batch norms of a frozen module, folded into the convolutions before them.

    scale · (w ∗ x + b − mean) + shift  =  (scale · w) ∗ x + (scale · (b − mean) + shift)

Place in the flow: once, when a backbone is loaded, on the CPU. The new weights are torch's own
fusion, in float64, rounded once to the weights' type. Invariants: a norm is folded only where
autograd's graph of one pass shows that it is the one reader of what the convolution gives; which
are folded depends on the architecture and the readout alone. Where the folded module gives other
results than before, by more than rounding, nothing is folded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

from lmeraser_ray.models.checkpoints import MODEL_ERRORS

Run = Callable[[Tensor], Tensor]


def fold_norms(module: nn.Module, runs: Sequence[Run], size: int) -> tuple[str, ...]:
    """Fold what can be folded, in place. module: in evaluation mode, on the CPU; runs: the ways in
    which it is used, each [1, 3, size, size] float32 → features; one that fails at this size says
    nothing.

    Returns the names of the folded convolutions, sorted; none where nothing can be folded, and then
    nothing has changed.
    """
    if not any(isinstance(each, nn.BatchNorm2d) for each in module.modules()):
        return ()
    seen = Seen(module)
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    for run in runs:
        with suppress(*MODEL_ERRORS):
            seen.watch(run, x)
    names = {each: name for name, each in module.named_modules()}
    pairs, before = seen.pairs(), [found_by(run, x) for run in runs]
    kept = {conv: (conv.weight, conv.bias) for conv in pairs.values()}
    places = [
        (module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], each)
        for name, each in module.named_modules(remove_duplicate=False)
        if each in pairs
    ]
    for norm, conv in pairs.items():
        fold(conv, norm)
    for parent, leaf, norm in places:
        setattr(parent, leaf, behind(norm))
    if all(map(alike, before, [found_by(run, x) for run in runs])):
        return tuple(sorted(names[conv] for conv in pairs.values()))
    for conv, (weight, bias) in kept.items():  # it does more than its parts show
        conv.weight, conv.bias = weight, bias
    for parent, leaf, norm in places:
        setattr(parent, leaf, norm)
    return ()


@torch.no_grad()
def found_by(run: Run, x: Tensor) -> Tensor | None:
    """What a way of using the module gives for x; None where it fails."""
    with suppress(*MODEL_ERRORS):
        return run(x)
    return None


def alike(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two results are one but for rounding."""
    if one is None or other is None:
        return one is other
    return torch.allclose(one, other, rtol=1e-3, atol=1e-4 * max(1.0, float(one.abs().max())))


class Seen:
    """What passes showed. given: the convolution that made each node of autograd's graph; taken:
    the nodes whose values each norm read; readers: how many read a node's values."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.given: dict[Node, nn.Conv2d] = {}
        self.taken: dict[nn.BatchNorm2d, list[Node | None]] = {}
        self.readers: Counter[Node] = Counter()

    def watch(self, run: Run, x: Tensor) -> None:
        """Add one pass. Errors: those of the pass, which then adds nothing."""
        given: list[tuple[Node, nn.Conv2d]] = []
        taken: list[tuple[nn.BatchNorm2d, Node | None]] = []

        def note(each: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            if isinstance(each, nn.Conv2d) and output.grad_fn:
                given.append((output.grad_fn, each))
            if isinstance(each, nn.BatchNorm2d):
                plain = each.running_mean is not None and only_normalizes(each, inputs[0], output)
                taken.append((each, inputs[0].grad_fn if plain else None))

        hooks = [
            each.register_forward_hook(note)
            for each in self.module.modules()
            if isinstance(each, nn.Conv2d | nn.BatchNorm2d)
        ]
        try:
            with torch.enable_grad():
                found = run(x.clone().requires_grad_())
        finally:
            for hook in hooks:
                hook.remove()
        self.readers += readers_behind(found.grad_fn)
        self.given.update(given)
        for norm, node in taken:
            self.taken.setdefault(norm, []).append(node)

    def pairs(self) -> dict[nn.BatchNorm2d, nn.Conv2d]:
        """The convolution before each norm that can be folded: in all passes the norm reads what
        this one gives, nothing else does, and the convolution is one with its own weight."""
        found = {}
        for norm, nodes in self.taken.items():
            conv = self.given.get(nodes[0]) if nodes[0] else None
            if conv is None:
                continue
            its = {node for node, each in self.given.items() if each is conv}
            own = conv.weight.data_ptr()
            if its == set(nodes) and all(
                self.readers[node] == 1 and weight_of(node) == own for node in its
            ):
                found[norm] = conv
        return found


def readers_behind(last: Node | None) -> Counter[Node]:
    """How many nodes read each node of a graph. last: the node of its output, which is read once
    more."""
    readers = Counter([last] if last else [])
    waiting, met = list(readers), set(readers)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None:
                readers[node] += 1
                if node not in met:
                    met.add(node)
                    waiting.append(node)
    return readers


def weight_of(node: Node) -> int | None:
    """The address of the weight that a convolution's node multiplied with; None for any other node,
    such as that of a class which changes the result."""
    weight: Tensor | None = getattr(node, "_saved_weight", None)
    return None if weight is None else weight.data_ptr()


def behind(norm: nn.Module) -> nn.Module:
    """What a norm does after normalising: its own children, such as an activation, in order."""
    return nn.Sequential(*norm.children())


@torch.no_grad()
def only_normalizes(norm: nn.BatchNorm2d, x: Tensor, found: Tensor) -> bool:
    """Whether a norm gave the bits of normalising followed by its children."""
    plain = functional.batch_norm(
        x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
    )
    return torch.equal(behind(norm)(plain), found)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weight and the bias that have the norm in them."""
    parts = [conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias]
    w, b, mean, var, scale, shift = (None if part is None else part.double() for part in parts)
    found = fuse_conv_bn_weights(w, b, mean, var, norm.eps, scale, shift)  # type: ignore[arg-type]
    conv.weight, conv.bias = (
        nn.Parameter(part.to(conv.weight.dtype), requires_grad=False) for part in found
    )
