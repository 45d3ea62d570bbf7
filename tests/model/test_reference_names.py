import pytest
import torch

from sigrl.model.config import HeadConfig
from sigrl.model.heads import create_head
from sigrl.model.reference_names import HEAD_NAMES, LEFT_OUT, map_reference_weights


def published_head() -> dict[str, torch.Tensor]:
    """A SigRL head with D = 8 in the reference's names and shapes."""
    ours = create_head(HeadConfig(form="published"), 8).state_dict()
    given = {name: ours[mine] for name, mine in HEAD_NAMES.items()}
    return {name: tensor[None] if "attn" in name else tensor for name, tensor in given.items()}


def published_tower() -> dict[str, torch.Tensor]:
    names = ["class_embedding", "projection_dist", "conv1.weight", "ln_pre.bias", "ln_post.weight"]
    block = ["attn.in_proj_weight", "attn.out_proj.bias", "ln_1.weight", "mlp.c_fc.weight", "mlp.c_proj.bias"]
    names += [f"transformer.resblocks.11.{name}" for name in block]
    return {name: torch.randn(2) for name in names}


def test_reference_weights_are_mapped_to_head_and_tower_names():
    mapped = map_reference_weights(published_head() | published_tower())
    create_head(HeadConfig(form="published"), 8).load_state_dict(mapped.head)
    assert "visual.proj" in mapped.tower
    assert "visual.transformer.resblocks.11.mlp.c_proj.bias" in mapped.tower
    assert len(mapped.tower) == len(published_tower())
    assert mapped.left_out == {}


def test_unused_weights_are_reported_with_a_reason():
    given = published_head()
    given |= {name: given.get(name.replace("linear_r", "linear_l"), torch.zeros(8)) for name in LEFT_OUT}
    mapped = map_reference_weights(given)
    assert mapped.left_out == LEFT_OUT
    assert len(mapped.head) == len(HEAD_NAMES)


def test_data_parallel_name_prefix_is_removed():
    mapped = map_reference_weights({"module." + name: tensor for name, tensor in published_head().items()})
    assert len(mapped.head) == len(HEAD_NAMES)


def test_mkt_checkpoint_has_no_head_weights():
    assert map_reference_weights(published_tower()).head == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks.0.norm.weight": torch.zeros(1)}, r"1 unknown names, the first \['blocks.0.norm.weight'\]"),
        ({"GATv2_1.output.linear_r.weight": torch.zeros(8, 128)}, "does not share its maps"),
    ],
)
def test_unknown_checkpoints_are_rejected(change, message):
    with pytest.raises(ValueError, match=message):
        map_reference_weights(published_head() | change)


def test_incomplete_head_is_rejected():
    given = published_head()
    del given["SemanticDecoupling.fc3.weight"]
    with pytest.raises(ValueError, match=r"missing: \['SemanticDecoupling.fc3.weight'\]"):
        map_reference_weights(given)
