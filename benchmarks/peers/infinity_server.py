"""infinity, started by its own command in a separate environment, because it needs an older torch:

    pip install 'infinity-emb[server,torch,vision]==0.0.78' aiohttp

It returns embeddings of photographs; the client multiplies them with those of labels.
"""

import json
import os
import sys
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip.tokenization_clip import bytes_to_unicode


def save_model(folder: Path) -> None:
    """A ViT-B/16 with random weights, and a tokeniser that knows letters."""
    CLIPModel(CLIPConfig(projection_dim=512, vision_config={"patch_size": 16})).save_pretrained(folder)
    letters = sorted(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    merges.write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(vocabulary), str(merges))
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(folder)


if __name__ == "__main__":
    precision, scratch, port = sys.argv[1:]
    torch.manual_seed(0)
    folder = Path(scratch) / precision
    save_model(folder)
    program = str(Path(sys.executable).with_name("infinity_emb"))
    model = ["--model-id", str(folder), "--served-model-name", "clip", "--batch-size", "8"]
    # Without its response cache, because the same few photographs are sent again and again.
    how = ["--device", "cpu", "--dtype", precision, "--no-bettertransformer", "--no-vector-disk-cache"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    os.execve(program, [program, "v2", *model, *how, "--port", port], environment)
