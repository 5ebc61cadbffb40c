"""How far a network looks, by interval arithmetic. Free of torch."""


def unet_reach(levels: int, *, convolutions: int = 2) -> tuple[int, int]:
    """How far below and above itself an output pixel of a U-Net depends on its input.

    Follows one output pixel back to the input: a SAME 3 x 3 convolution widens an interval by one
    pixel on both sides, a 2 x 2 transposed convolution of stride 2 halves it, a 2 x 2 max-pool
    doubles it. The worst of all positions of the pixel on the pooling grid is returned.

    Args:
        levels: Number of 2 x 2 poolings.
        convolutions: 3 x 3 convolutions per block.

    Returns:
        Pixels (before, after) along each in-plane axis.
    """
    stride = 2**levels
    before = after = 0
    for pixel in range(stride):
        low = high = pixel
        skips = []
        for _ in range(levels):
            low, high = low - convolutions, high + convolutions
            skips.append((low, high))
            low, high = low // 2, high // 2
        low, high = low - convolutions, high + convolutions
        for skip_low, skip_high in reversed(skips):
            low, high = min(2 * low, skip_low), max(2 * high + 1, skip_high)
            low, high = low - convolutions, high + convolutions
        before, after = max(before, pixel - low), max(after, high - pixel)
    return before, after


def unet_halo(levels: int) -> int:
    """The halo that a tile of a U-Net needs: its reach, rounded up to the pooling stride."""
    stride: int = 2**levels
    return -(-max(unet_reach(levels)) // stride) * stride
