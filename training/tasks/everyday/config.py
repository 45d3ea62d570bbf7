"""What a run of `task: everyday` is told."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from sigrl.model.config import BackboneConfig, Frozen, Preprocessing, SentenceEncoderConfig

SourceName = Literal[
    "coco_course",
    "flickr8k",
    "scenes",
    "houses",
    "nyu_rooms",
    "caltech101",
    "grocery",
    "clothing",
    "food",
    "places",
]
"""The data sets beside `everyday` and `coco`; origin and terms of each stand in `origins.yaml`."""

_BACKGROUND: dict[SourceName, int] = {
    "coco_course": 420,
    "flickr8k": 150,
    "caltech101": 80,
    "scenes": 60,
    "nyu_rooms": 50,
    "houses": 40,
}
"""800 photographs as people take them: outdoors, people, things, rooms."""


class TeacherConfig(Frozen):
    """Classifiers over the dense labels alone, whose mean is the first guess at every photograph."""

    members: int = Field(4, ge=1)
    """Classifiers that are averaged; they differ by their seed."""
    steps: int = Field(440, ge=1)
    batch_size: int = Field(128, ge=1)
    hidden: int = Field(1024, ge=1)
    """Width of the hidden layer."""
    learning_rate: float = 5e-4
    weight_decay: float = 0.1


class Batch(Frozen):
    """Of what a training step consists."""

    dense: int = Field(48, ge=1)
    """Photographs with dense labels."""
    others: int = Field(80, ge=1)
    """Photographs of all other data sets."""
    words: int = Field(300, ge=1)
    """At most so many words that captions or class names of the batch mention."""
    random_words: int = Field(150, ge=0)
    """Words drawn from the label lists, most of which hold on no photograph of the batch."""


class Rates(Frozen):
    """Highest learning rates of AdamW, each with its weight decay."""

    tower: float = 2e-4
    """Of the tower's tuned blocks."""
    tower_decay: float = 0.01
    known_words: float = 5e-4
    """Of the hidden layer and the head of known words."""
    known_words_decay: float = 0.1
    embedding: float = 5e-4
    """Of the embedding, the tokens' map and the scales."""
    embedding_decay: float = 0.02
    text_map: float = 1e-4
    """Of the map of sentence embeddings, which does not decay."""


class LossWeights(Frozen):
    """What each part counts; losses over words are sums over the words, means over the photographs."""

    known_words: float = 0.1
    """Binary cross-entropy of the head of known words."""
    open_words: float = 0.05
    """The same targets for the embedding."""
    mentions: float = 0.0625
    """Binary cross-entropy of the embedding for words that captions and class names mention."""
    captions: float = 1.0
    """Contrast between photographs and captions."""
    bridge: float = 0.3
    """One minus the cosine between image embedding and bridge embedding."""


class TrainingSettings(Frozen):
    """The tuned blocks and the heads on them."""

    tuned_blocks: int = Field(3, ge=1)
    """Last blocks of the image tower that exist twice, as they were trained and tuned. Each costs the tower a
    twentieth of its time."""
    steps: int = Field(900, ge=1)
    batch: Batch = Batch()
    hidden: int = Field(1024, ge=1)
    """Width of the layer that known words and embedding share."""
    rates: Rates = Rates()
    losses: LossWeights = LossWeights()
    clip_norm: float = 5.0
    """Longest gradient, over all parameters."""
    averaging: float = Field(0.995, gt=0, lt=1)
    """Decay of the weights' moving average, which guesses at labels and is kept in the end."""
    own_share: float = Field(0.7, ge=0, le=1)
    """Of the averaged weights in the guesses at unknown labels, in the end; the teacher has the rest."""
    own_share_from: float = Field(0.4, gt=0, le=1)
    """Share of the steps over which it grows to that, from 0."""
    save_every: int = Field(100, ge=1)
    """Steps after which the state is written."""
    seed: int = Field(0, ge=0)


class LeftOutConfig(Frozen):
    """A second training without some words: what it makes of them tells how to weigh words that nobody
    labelled."""

    count: int = Field(150, ge=1)
    """Names of `everyday` that are drawn."""
    most_frequent: float = Field(0.06, gt=0, le=1)
    """Share of the densely labelled photographs that show a name, from which on it is not drawn: who asks for
    new words asks for rarer things."""
    coco: tuple[str, ...] = ()
    """COCO's labels left out too, as `hidden_coco`."""
    other_names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other names of these labels."""
    steps: int = Field(500, ge=1)
    """Of the training, in place of `training.steps`."""
    seed: int = Field(7, ge=0)
    """Of the draw."""


class KnownWordsConfig(Frozen):
    """Which words get a logit of their own: of fewer photographs nothing is learned that lasts."""

    dense: int = Field(5, ge=0)
    """Densely labelled photographs that show a word, or"""
    others: int = Field(20, ge=0)
    """other photographs that do; a word with fewer of both is a new word."""


class GraphConfig(Frozen):
    """What known words say of one another, learned from scores of photographs that were not trained on."""

    rank: int = Field(64, ge=1)
    teacher_steps: int = Field(320, ge=1)
    """Of each of the two classifiers that give these scores."""
    steps: int = Field(600, ge=1)
    weight_decay: float = 0.5


class EverydayConfig(Frozen):
    """Folders, what is kept from training, and how it is trained."""

    task: Literal["everyday"] = "everyday"
    everyday: Path
    """Folder of the densely labelled photographs: `labels.jsonl`, `names.txt`, `photographs/`."""
    coco: Path
    """Folder in COCO's layout: `train2014` is trained on, `val2014` never is."""
    sources: dict[SourceName, Path] = Field(default_factory=dict)
    """Data set -> the folder that holds its repository."""
    flickr8k_captions: Path | None = None
    """File of Flickr8k's captions, lines of `image,caption`; None: it has none."""
    vocabulary: Path
    """Vocabulary that says which name implies which, and by what other words people call it."""
    label_lists: tuple[Path, ...]
    """Lists of words that are looked for in captions, beside the names of `everyday`."""
    hidden_words: tuple[str, ...] = ()
    """Names of `everyday` kept out of all label supervision: targets, class names, words of captions."""
    hidden_coco: tuple[str, ...] = ()
    """COCO's labels kept out likewise, with what is narrower, and captions that name one of them."""
    other_names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other names of hidden labels, to be looked for in texts too."""
    source_weights: dict[SourceName, float] = Field(default_factory=dict)
    """How often a photograph of a source is drawn, against 1."""
    draw_seed: int = Field(0, ge=0)
    """Of the photographs that are taken of a class with many; one for all runs that are compared."""
    backbone: BackboneConfig = BackboneConfig(
        embed_dim=384,
        vision={"timm_model_name": "tf_efficientnet_lite2", "image_size": 320},
        sentence_encoder=SentenceEncoderConfig(),
    )
    preprocessing: Preprocessing = Preprocessing(
        image_size=320, resize="squash", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
    )
    teacher: TeacherConfig = TeacherConfig()
    training: TrainingSettings = TrainingSettings()
    left_out: LeftOutConfig | None = None
    """None: there is no second training, and new words are weighed by default numbers."""
    known_words: KnownWordsConfig = KnownWordsConfig()
    graph: GraphConfig = GraphConfig()
    background: dict[SourceName, int] = _BACKGROUND
    """Source -> photographs drawn from it for the background set, all where it has fewer."""
    cache: Path = Path("cache/everyday")
    """Folder for the features of the frozen tower (4 GB for 88,000 photographs) and of texts."""
    threads: int = Field(2, ge=1)
    """Threads of torch, and the reason why a run repeats exactly only on the same number."""
