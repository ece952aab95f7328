"""Rows of data on the device: split once, shuffled by index, cut into batches. Knows no loss."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from lfi_helpers.arguments import same_length
from lfi_helpers.run import generator

Data = Tensor | tuple[Tensor, ...]


class Rows:
    """The rows to train on and those held out, as indices into tensors that stay where they are.

    Args:
        data: a tensor (N, ...) or a tuple of them; a batch has the same form.
        held_out: share of the rows that is never trained on.
        seed: of the split and of every later shuffle.
        device: where the tensors are moved, once.
    """

    def __init__(self, data: Data, held_out: float, seed: int, device: torch.device):
        self.single = isinstance(data, Tensor)
        columns = [data] if self.single else list(data)
        for i, column in enumerate(columns):
            if not isinstance(column, Tensor):
                came = f"{type(column).__name__} at place {i}"
                raise TypeError(f"data: expected tensors, got {came}")
        if not columns:
            raise ValueError("data: expected at least one tensor, got none")
        same_length(**{f"data[{i}]": column for i, column in enumerate(columns)})
        self.columns = [column.to(device) for column in columns]
        self.shuffle = generator(seed, device=device)
        order = self._permutation(len(columns[0]))
        n_held = round(held_out * len(order))
        self.held, self.train = order[:n_held], order[n_held:]
        if held_out and not n_held:
            raise ValueError(f"data: expected enough rows to hold some out, got {len(order)}")
        if len(self.train) == 0:
            raise ValueError("data: expected at least one row to train on, got none")

    def _permutation(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.shuffle, device=self.shuffle.device)

    def __getitem__(self, index: Tensor) -> Data:
        """Return the batch of these rows in the form of data."""
        batch = [column.index_select(0, index) for column in self.columns]
        return batch[0] if self.single else tuple(batch)

    def shuffled(self, batch_size: int) -> Iterator[Tensor]:
        """Yield the indices of one pass over the training rows; a short last batch is left out."""
        order = self.train[self._permutation(len(self.train))]
        for first in range(0, max(1, len(order) - batch_size + 1), batch_size):
            yield order[first : first + batch_size]

    def digest(self) -> str:
        """Return a fingerprint of the data: shapes, types and every number."""
        total = hashlib.sha256()
        for column in self.columns:
            total.update(f"{tuple(column.shape)} {column.dtype}".encode())
            flat = column.detach().cpu().contiguous().flatten()
            total.update(flat.view(torch.uint8).numpy().data)
        return total.hexdigest()
