"""The published pseudo-labels: AckTheUnknown's asymmetric step over three epochs, and VLPL's."""

import pytest
import torch

from sigrl.training.losses.pseudo_labels import (
    VlplOptions,
    asymmetric_pseudo_labels,
    label_similarity,
    negative_quotas,
    vlpl_pseudo_labels,
)

FILE = "05c_pseudo_labels.npz"
SETTINGS = [
    "T0.03.th0.3.partial0.0",
    "T0.03.th0.3.partial0.2",
    "T0.1.th0.1.partial0.35",
    "T0.01.th0.3.partial0.05",
]


@pytest.mark.parametrize("name", ["apl.0", "apl.1"])
def test_quotas_match_the_reference(golden, name):
    case = golden.case(FILE, name)
    parameters = case["P"]
    epochs = parameters["num_epochs"] - parameters["warmup_epoch"]
    unknown = torch.tensor(parameters["unlabel_num"])
    quotas = negative_quotas(unknown, parameters["neg_proportion"], epochs)
    assert quotas.tolist() == case["quota_per_class_and_epoch"]
    assert (golden.array(FILE, f"{name}/label_obs_before") == 0).sum(0).tolist() == unknown.tolist()


@pytest.mark.parametrize("name", ["apl.0", "apl.1"])
def test_three_epochs_of_asymmetric_pseudo_labels_match_the_reference(golden, dtype, name):
    quotas = torch.tensor(golden.case(FILE, name)["quota_per_class_and_epoch"])
    observed = golden.array(FILE, f"{name}/label_obs_before")
    soft = torch.full(observed.shape, -1.0, dtype=dtype)
    for epoch in range(3):
        logits = golden.array(FILE, f"{name}/logits_epoch{epoch}").to(dtype)
        soft = asymmetric_pseudo_labels(logits, observed, soft, quotas)
        published = golden.array(FILE, f"{name}/label_obs_after_epoch{epoch}")
        assert torch.equal(soft >= 0, published < 0)
        ours = torch.where(soft >= 0, -soft.double(), observed)
        # The reference's matrix is float64, the probabilities in it float32.
        torch.testing.assert_close(ours, published, rtol=1e-6, atol=0)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("features", ["vlpl.0", "vlpl.1"])
def test_vlpl_pseudo_labels_match_the_reference(golden, dtype, features, setting):
    name = f"{features}.{setting}"
    case = golden.case(FILE, name)
    similarity = label_similarity(
        golden.array(FILE, f"{features}/image_embeds").to(dtype),
        golden.array(FILE, f"{features}/text_features").to(dtype),
        case["temperature"],
    )
    golden.compare(FILE, f"{name}/similarity", similarity)
    options = VlplOptions(
        temperature=case["temperature"], threshold=case["threshold"], negative_share=case["partial"]
    )
    ours = vlpl_pseudo_labels(similarity, options)
    published = golden.array(FILE, f"{name}/pseudo_labels").to(dtype)
    fixed = torch.ones(len(ours), dtype=torch.bool)
    if f"{name}/ambiguous_rows" in golden.described(FILE):
        fixed = ~golden.array(FILE, f"{name}/ambiguous_rows")
    assert torch.equal(ours[fixed], published[fixed])
    assert torch.equal(ours == 1, published == 1)
    assert ((ours == -1).sum(1) == case["negatives_per_row"]).all()
