"""The linear head, and its closed-form start.

    scores = weight · feature + bias,   weight [c, d] and bias [c] float32

Invariant: a head begins at zero, at the head of the stage before or of the common start (new
classes at zero, classes that the shard lacks left out), or at the ridge regression of the shard's
own features; it draws nothing at random.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmeraser_ray.models.learners.constituent import Constituent


class Head(nn.Module):
    """A linear map from features [b, d] to class scores [b, c]: zero, or the head of the
    constituent `start`, of which classes that are not here are left out, and in which a class that
    is new begins at zero."""

    def __init__(
        self,
        dimension: int,
        classes: tuple[str, ...],
        start: Constituent | None,
        device: torch.device,
    ) -> None:
        super().__init__()
        weight, bias = torch.zeros(len(classes), dimension), torch.zeros(len(classes))
        if start is not None:
            rows = [at for at, name in enumerate(classes) if name in start.classes]
            from_rows = [start.classes.index(classes[at]) for at in rows]
            weight[rows], bias[rows] = (
                torch.from_numpy(start.tensors["weight"])[from_rows],
                torch.from_numpy(start.tensors["bias"])[from_rows],
            )
        self.weight, self.bias = nn.Parameter(weight.to(device)), nn.Parameter(bias.to(device))

    def forward(self, features: Tensor) -> Tensor:
        """features: [b, d] → scores [b, c]."""
        return functional.linear(features, self.weight, self.bias)

    def set(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Take these values. weight: [c, d]; bias: [c]."""
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(weight))
            self.bias.copy_(torch.from_numpy(bias))


def ridge_head(
    features: NDArray[np.float32], targets: NDArray[np.int64], classes: int, penalty: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ridge regression of centred one-hot targets. features: [n, d], targets: [n] → weight [c, d],
    bias [c], both float32.

    Solved in the dual, (X Xᵀ + λ I) A = Y with X centred, since a shard has fewer records than
    features; λ = `penalty` times the mean squared norm of a centred feature. One thread, float64:
    the bits are the machine's, not the scheduler's.
    """
    x = torch.from_numpy(features).double()
    y = functional.one_hot(torch.from_numpy(targets), classes).double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x @ x.T
    strength = penalty * float(gram.diagonal().mean()) + 1e-12
    weight = (x.T @ torch.linalg.solve(gram + strength * torch.eye(len(x), dtype=x.dtype), y)).T
    return weight.float().numpy(), (mean_y - weight @ mean_x).float().numpy()
