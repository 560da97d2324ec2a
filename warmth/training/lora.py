"""LoRA's linear layer in fewer operations: PEFT's numbers, without its copies of the input.

PEFT casts the input to float32 for each adapted layer, scales and adds matrices as large as the
output, and keeps a copy of the input for each. Here the scale goes on the adapter's narrow side,
products accumulate in place, and layers that share an input share what is kept of it.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn


class AdaptedProduct(torch.autograd.Function):
    """Computes x W' + s (z A') B', where z is x, or x after dropout.

    It has gradients for x, z, A and B, and none for the frozen W.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        z: Tensor | None,
        weight: Tensor,
        down: Tensor,
        up: Tensor,
        scale: float,
    ) -> Tensor:
        """Compute the product.

        Args:
            ctx: PyTorch's.
            x: (T, in).
            z: (T, in) what the adapter sees; None: x.
            weight: (out, in), frozen, in the dtype of x.
            down: (r, in) A.
            up: (out, r) B.
            scale: alpha / r.

        Returns:
            (T, out) in the dtype of x.
        """
        seen = x if z is None else z
        narrow = seen @ down.to(seen.dtype).t()
        ctx.save_for_backward(seen, narrow, weight, down, up)
        ctx.scale = scale
        ctx.shared = z is None
        return torch.addmm(x @ weight.t(), narrow, up.to(x.dtype).t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        """Return the gradients in the order of `forward`'s arguments."""
        seen, narrow, weight, down, up = ctx.saved_tensors
        (grad,) = outer
        through = (grad @ up.to(grad.dtype)) * ctx.scale
        grad_down = (through.t() @ seen).to(down.dtype)
        grad_up = (grad.t() @ narrow).to(up.dtype) * ctx.scale
        grad_x = grad @ weight
        if ctx.shared:
            grad_x = torch.addmm(grad_x, through, down.to(grad.dtype))
            return grad_x, None, None, grad_down, grad_up, None
        grad_z = through @ down.to(grad.dtype)
        return grad_x, grad_z, None, grad_down, grad_up, None


def adapted_forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Compute `forward` of one adapted layer.

    Anything but plain training of one adapter is left to PEFT's own.
    """
    if args or kwargs or not _is_plain(layer):
        return type(layer).forward(layer, x, *args, **kwargs)
    name = layer.active_adapters[0]
    weight = layer.base_layer.weight
    down = layer.lora_A[name].weight
    up = layer.lora_B[name].weight
    dropout = layer.lora_dropout[name]
    flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
    dropped = None if isinstance(dropout, nn.Identity) else dropout(flat)
    with torch.autocast(x.device.type, enabled=False):
        out = AdaptedProduct.apply(flat, dropped, weight, down, up, layer.scaling[name])
    if layer.base_layer.bias is not None:
        out = out + layer.base_layer.bias
    return out.view(*x.shape[:-1], -1)


def _is_plain(layer: Any) -> bool:
    """Tell whether a layer has one active adapter and is trained."""
    if layer.disable_adapters or layer.merged or not torch.is_grad_enabled():
        return False
    return len(layer.active_adapters) == 1 and layer.active_adapters[0] in layer.lora_A


def shorten(model: Any) -> int:
    """Give every plain adapted layer the forward pass above; return how many there are.

    Layers with quantised weights or a LoRA variant keep PEFT's. Not for ZeRO-3, which gathers a
    weight only where its own module is called.
    """
    count = 0
    for module in model.modules():
        if type(module) is not Linear or type(module.base_layer) is not nn.Linear:
            continue
        count += 1
        if not any(module.use_dora.values()):
            module.forward = types.MethodType(adapted_forward, module)
    return count
