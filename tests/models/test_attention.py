"""The transformer block: identity when new, symmetries, and attention by its definition."""

import pytest
import torch

from models.attention import HEAD_WIDTH, Attention, TransformerBlock


def trained(width=64, token_width=48):
    """A block whose last convolution is no longer zero."""
    torch.manual_seed(0)
    block = TransformerBlock(width, token_width)
    torch.nn.init.normal_(block.project_out.weight)
    return block.eval()


def test_a_new_block_changes_nothing():
    x = torch.randn(2, 32, 11)
    assert torch.equal(TransformerBlock(32, 5)(x, torch.randn(2, 4, 5)), x)


def test_attention_is_its_definition():
    torch.manual_seed(0)
    layer, x, context = Attention(64, 24), torch.randn(1, 5, 64), torch.randn(1, 3, 24)
    query, key, value = layer.query(x)[0], layer.key(context)[0], layer.value(context)[0]
    heads = []
    for head in range(2):
        part = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)
        weights = torch.softmax(query[:, part] @ key[:, part].T / HEAD_WIDTH**0.5, dim=1)
        heads.append(weights @ value[:, part])
    torch.testing.assert_close(layer(x, context)[0], layer.out(torch.cat(heads, dim=1)))


def test_tokens_have_no_order_and_pixels_go_along():
    block, x, tokens = trained(), torch.randn(2, 64, 9), torch.randn(2, 4, 48)
    result = block(x, tokens)
    assert not torch.equal(result, x)
    torch.testing.assert_close(block(x, tokens.flip(1)), result)
    torch.testing.assert_close(block(x.flip(2), tokens), result.flip(2))


def test_tokens_matter():
    block, x = trained(), torch.randn(1, 64, 9)
    one, other = (block(x, torch.randn(1, 4, 48)) for _ in range(2))
    assert (one - other).abs().max() > 1e-3


def test_widths_that_are_no_multiple_of_the_heads_are_refused():
    with pytest.raises(ValueError, match="multiple of 32, not 48"):
        TransformerBlock(48, 512)
