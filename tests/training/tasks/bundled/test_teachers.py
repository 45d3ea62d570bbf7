"""The targets of pretraining, on artificial towers."""

import torch

from sigrl.model.bundle import TaggingModel
from sigrl.training.tasks.bundled.teachers import Teachers, draw_names, label_texts, sentence_embeddings


def test_half_of_the_drawn_names_match_images_of_the_batch() -> None:
    nothing = torch.zeros(0)
    teachers = Teachers(
        label_embeddings=nothing,
        name_embeddings=torch.zeros(1000, 4),
        caption_embeddings=nothing,
        bridge_embeddings=nothing,
        targets=nothing,
        likely_names=torch.tensor([[0, 1], [2, 3], [4, 5]]),
    )
    drawn = draw_names(teachers, torch.tensor([0, 2]), 101)
    assert drawn.shape == (101,)
    assert set(drawn[:50].tolist()) == {0, 1, 4, 5}
    assert drawn.max() > 100


def test_label_texts_use_the_prompt_of_the_backbone(tiny_model: TaggingModel) -> None:
    texts = label_texts(tiny_model.backbone, ["dog", "wine glass"])
    assert texts == ["There is a dog in the scene", "There is a wine glass in the scene"]
    with torch.inference_mode():
        embeddings = sentence_embeddings(tiny_model.backbone, texts)
    assert embeddings.shape == (2, 16)
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(2))
