"""Vision transformer (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2020, https://arxiv.org/abs/2010.11929)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from medjax.models.layers import Classifier, PooledHead, is_small, require_dropout

WIDTH, DEPTH, NUM_HEADS = 192, 12, 3  # "tiny", of Touvron et al., 2020, https://arxiv.org/abs/2012.12877
_EPSILON = 1e-6

_START = nn.initializers.truncated_normal(0.02)
_dense = functools.partial(nn.Dense, kernel_init=_START)
_norm = functools.partial(nn.LayerNorm, epsilon=_EPSILON)


def vit_tiny(num_classes: int, *, dropout: float = 0.0) -> nn.Module:
    """ViT-Tiny; 5,717,416 parameters for 1,000 classes of color images of 224 pixels a side."""
    return VisionTransformer(ViTFeatures(), PooledHead(num_classes, require_dropout(dropout)))


class VisionTransformer(Classifier):
    """Patches of an image, and a token for its class, that attend to each other; dropout, if any, before the logits."""


class ViTFeatures(nn.Module):
    """Patches, their positions, and blocks of attention.

    Patches have 16 pixels a side in images of 64 or more a side, else 4; zeros fill up the outermost patches. There is one
    learned position for each patch, so their number goes by the size of the images.

    The logits are made of the class token alone, so the map that is returned has one place, the token.
    """

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channel"], *, is_training: bool = False
    ) -> Float[Array, "batch 1 1 feature"]:
        """The class token of images."""
        patch = 4 if is_small(images) else 16
        embed = nn.Conv(
            WIDTH, (patch, patch), strides=patch, padding="SAME", kernel_init=_START, name="patch_embed"
        )
        patches = embed(images).reshape(len(images), -1, WIDTH)
        token = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, WIDTH))
        x = jnp.concatenate((jnp.broadcast_to(token, (len(images), 1, WIDTH)), patches), axis=1)
        x = x + self.param("pos_embed", _START, (1, x.shape[1], WIDTH))
        for number in range(DEPTH):
            x = AttentionBlock(name=f"block_{number}")(x)
        return _norm(name="norm")(x[:, :1])[:, None]


class AttentionBlock(nn.Module):
    """Attention among the tokens, then two dense layers for each; both are added to their input."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch token feature"]) -> Float[Array, "batch token feature"]:
        """Tokens of tokens."""
        queries_keys_values = _dense(3 * WIDTH, name="qkv")(_norm(name="norm1")(x))
        parts = queries_keys_values.reshape(*x.shape[:2], 3, NUM_HEADS, WIDTH // NUM_HEADS)
        attended = jax.nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
        x = x + _dense(WIDTH, name="proj")(attended.reshape(x.shape))
        hidden = _dense(4 * WIDTH, name="fc1")(_norm(name="norm2")(x))
        return x + _dense(WIDTH, name="fc2")(nn.gelu(hidden, approximate=False))
