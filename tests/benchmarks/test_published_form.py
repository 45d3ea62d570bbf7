"""The published shape of computation, which speed is held against, gives our head's own scores."""

import torch

from benchmarks import published_form
from sigrl.model.config import HeadConfig
from sigrl.model.features import ImageFeatures
from sigrl.model.heads import create_head


@torch.no_grad()
def test_published_form_matches_the_published_head():
    head = create_head(HeadConfig(form="published", top_k=3), 128).eval()
    for parameter in head.parameters():
        parameter.mul_(4)
    images = ImageFeatures(torch.randn(2, 128), torch.randn(2, 9, 128), (3, 3))
    labels = torch.randn(7, 128)
    ours = head.score(images, head.label_features(labels))
    torch.testing.assert_close(published_form.score(head, images, labels), ours, rtol=0, atol=1e-6)
