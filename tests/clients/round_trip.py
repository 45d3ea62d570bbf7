"""Run by test_generated.py with the client that openapi-python-client made: ADDRESS KEY PHOTOGRAPH."""

import base64
import io
import sys
from pathlib import Path

from sig_rl_tagger_client import AuthenticatedClient
from sig_rl_tagger_client.api.tagging import embeddings, preview, tag
from sig_rl_tagger_client.api.vocabularies import candidates, get_vocabulary, put_vocabulary
from sig_rl_tagger_client.models import (
    CandidatesFilesBody,
    EmbeddingsFilesBody,
    JsonImage,
    Label,
    LabelsToEmbed,
    PreviewFilesBody,
    Problem,
    TagBody,
    TagFilesBody,
    VocabularyBody,
)
from sig_rl_tagger_client.types import File

address, key, photograph = sys.argv[1:]
client = AuthenticatedClient(base_url=address, token=key)
content = Path(photograph).read_bytes()


def upload() -> File:
    return File(io.BytesIO(content), "photo.jpg", "image/jpeg")


made = put_vocabulary.sync(client=client, name="pets", body=["dog", Label("cat", synonyms=["kitty"])])
assert (made.name, made.version, made.size) == ("pets", 1, 2), made
changed = put_vocabulary.sync(client=client, name="pets", body=VocabularyBody(["dog", "cat"]))
assert changed.version == 2, changed
kept = get_vocabulary.sync(client=client, name="pets")
assert [label.name for label in kept.labels] == ["dog", "cat"], kept

as_json = TagBody([JsonImage(data=base64.b64encode(content).decode())], labels=["dog", "cat"], top_k=2)
answers = [
    tag.sync(client=client, body=as_json),
    tag.sync(client=client, body=TagFilesBody(image=[upload()], labels=["dog", "cat"], top_k=2)),
    tag.sync(client=client, body=upload(), vocabulary=["pets"], top_k=2),
]
for answer in answers:
    assert {each.label for each in answer.images[0].tags} == {"dog", "cat"}, answer
    assert 0 < answer.images[0].tags[0].probability < 1, answer
several = tag.sync(client=client, body=upload(), vocabulary=["pets", "voc20"])
assert [each.vocabulary for each in several.images[0].results] == ["pets", "voc20"], several

seen = embeddings.sync(client=client, body=EmbeddingsFilesBody(image=[upload()]))
read = embeddings.sync(client=client, body=LabelsToEmbed(labels=["dog"]))
assert len(seen.images[0].embedding) == len(read.labels[0].embedding) == 32

for body in (upload(), PreviewFilesBody(image=upload())):
    shown = preview.sync_detailed(client=client, body=body)
    assert (shown.status_code, shown.content[:2]) == (200, b"\xff\xd8"), shown
for body in (upload(), CandidatesFilesBody(image=[upload()])):
    weighed = candidates.sync(client=client, name="pets", body=body)
    assert len(weighed.images[0].embedding) == 32, weighed

refused = tag.sync_detailed(client=client, body=File(io.BytesIO(b"not a photograph"), "bad"))
assert refused.status_code == 415
assert isinstance(refused.parsed, Problem)
assert refused.parsed.hint
