"""A GPU that need not be there: tensors have shapes and devices and no numbers, and what mixes devices raises.

torch's fake tensors check the device of each operation. Here they are also asked what programs ask of numbers, and
answer 1 and True; what goes to NumPy must be on the processor, and a generator where its tensors are.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
MIXED = r"two different devices|on the same device|Input type .* should be the same"
"""What torch says of tensors on a GPU and the processor; the last where autocast has rounded the GPU's alone."""
aten = torch.ops.aten


class _Generator(torch.Generator):
    """One of the processor that says it is of another device."""

    def __new__(cls, device: Any = "cpu") -> "_Generator":
        made = super().__new__(cls, "cpu")
        made.asked = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.asked


class _Answers(TorchDispatchMode):
    """What depends on numbers: every number is 1, and of a mask one element is chosen."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            kind = args[0].dtype
            return True if kind == torch.bool else 1.0 if kind.is_floating_point else 1
        if func is aten.nonzero.default:
            return args[0].new_zeros((1, args[0].ndim), dtype=torch.int64)
        if func in (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default):
            args = (args[0], _without_masks(args[1]), *args[2:])
        for each in tree_leaves((args, kwargs)):
            if isinstance(each, torch.Generator):
                given = kwargs.get("device") or next(x.device for x in tree_leaves(args) if isinstance(x, Tensor))
                if torch.device(given).type != each.device.type:
                    raise RuntimeError(f"{func} on {given} draws from a generator on {each.device}")
        found = func(*args, **kwargs)
        for each in tree_leaves(found):
            if isinstance(each, FakeTensor):
                each.constant = None  # a number that is known would be computed with, on a GPU that is not there
        return found


class _Numpy(TorchFunctionMode):
    """What leaves torch."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.numpy:
            if args[0].device.type != "cpu" or args[0].requires_grad:
                raise TypeError(
                    f"a tensor on {args[0].device} is no NumPy array: detach it, and copy it to the processor"
                )
            return np.zeros(tuple(args[0].shape), str(args[0].dtype).removeprefix("torch."))
        if func is Tensor.pin_memory:
            if args[0].device.type != "cpu":
                raise RuntimeError(f"memory of {args[0].device} cannot be pinned")
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def fake_gpu() -> Iterator[torch.device]:
    """While it lasts, tensors are made without numbers, also from NumPy, and there is a GPU, which has bfloat16."""
    with ExitStack() as stack:
        for name, value in {
            "torch.Generator": _Generator,
            "torch.from_numpy": lambda array: torch.empty(array.shape, dtype=getattr(torch, str(array.dtype))),
            "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
            "torch.cuda.is_bf16_supported": lambda *_, **__: True,
            "torch.cuda.max_memory_allocated": lambda *_: 0,
            "torch.nn.init.trunc_normal_": lambda tensor, **_: tensor,  # draws again until all lie inside
            "torch.nn.Module._apply": _apply,
            "torch.Tensor.__deepcopy__": _copy,
            "torch.Tensor.backward": _backward,
        }.items():
            stack.enter_context(patch(name, value))
        for mode in (FakeTensorMode(), _Answers(), _Numpy()):
            stack.enter_context(mode)
        yield CUDA


def _copy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """torch's own asks for the memory's address."""
    if id(tensor) not in memo:
        made = tensor.detach().clone()
        memo[id(tensor)] = nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made
    return memo[id(tensor)]


def _backward(loss: Tensor) -> None:
    """torch's own asks the device for its streams: here each leaf that the loss follows from gets a gradient.

    Its device is the leaf's, as it is of any operation whose inputs are on one device.
    """
    seen, queue = set(), [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        queue += [each for each, _ in node.next_functions]
        if (leaf := getattr(node, "variable", None)) is not None:
            leaf.grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad + torch.zeros_like(leaf)


def _apply(module: nn.Module, convert: Any, recurse: bool = True) -> nn.Module:
    """torch's own exchanges the two tensors, which fake ones cannot: here a new parameter takes the old one's place."""
    for child in module.children():
        _apply(child, convert)
    for name, old in module.named_parameters(recurse=False):
        with torch.no_grad():
            module.register_parameter(name, nn.Parameter(convert(old), old.requires_grad))
    for name, old in module.named_buffers(recurse=False):
        module.register_buffer(name, convert(old))
    return module


def _without_masks(indices: Any) -> list[Any]:
    """A mask's place taken by as many index tensors as it has dimensions."""
    found: list[Any] = []
    for index in indices:
        mask = isinstance(index, Tensor) and index.dtype == torch.bool
        found += list(index.new_zeros((index.ndim, index.numel()), dtype=torch.int64)) if mask else [index]
    return found
