"""The configuration of `task: everyday`."""

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
"""The data sets beside `everyday` and `coco`; `origins.yaml` lists the origin and terms of each."""

_BACKGROUND: dict[SourceName, int] = {
    "coco_course": 420,
    "flickr8k": 150,
    "caltech101": 80,
    "scenes": 60,
    "nyu_rooms": 50,
    "houses": 40,
}
"""800 everyday photographs: outdoors, people, things, rooms."""


class TeacherConfig(Frozen):
    """Classifiers trained on the dense labels alone; their mean is the first guess for every photograph."""

    members: int = Field(4, ge=1)
    """Number of classifiers to average; they differ by their seed."""
    steps: int = Field(440, ge=1)
    batch_size: int = Field(128, ge=1)
    hidden: int = Field(1024, ge=1)
    """Width of the hidden layer."""
    learning_rate: float = 5e-4
    weight_decay: float = 0.1


class Batch(Frozen):
    """The composition of a training step."""

    dense: int = Field(48, ge=1)
    """Number of photographs with dense labels."""
    others: int = Field(80, ge=1)
    """Number of photographs from all other data sets."""
    words: int = Field(300, ge=1)
    """Maximum number of words from the batch's captions or class names."""
    random_words: int = Field(150, ge=0)
    """Number of words drawn from the label lists; most apply to no photograph of the batch."""


class Rates(Frozen):
    """Maximum learning rates of AdamW, each with its weight decay."""

    tower: float = 2e-4
    """Learning rate of the tower's tuned blocks."""
    tower_decay: float = 0.01
    known_words: float = 5e-4
    """Learning rate of the hidden layer and the head of known words."""
    known_words_decay: float = 0.1
    embedding: float = 5e-4
    """Learning rate of the embedding, the tokens' map and the scales."""
    embedding_decay: float = 0.02
    text_map: float = 1e-4
    """Learning rate of the map of sentence embeddings, which has no weight decay."""


class LossWeights(Frozen):
    """Weight of each loss; losses over words are summed over the words and averaged over the photographs."""

    known_words: float = 0.1
    """Binary cross-entropy of the head of known words."""
    open_words: float = 0.05
    """Binary cross-entropy of the embedding, with the same targets."""
    mentions: float = 0.0625
    """Binary cross-entropy of the embedding for words in captions and class names."""
    captions: float = 1.0
    """Contrastive loss between photographs and captions."""
    bridge: float = 0.3
    """One minus the cosine between image embedding and bridge embedding."""


class TrainingSettings(Frozen):
    """The training of the tuned blocks and the heads on them."""

    tuned_blocks: int = Field(3, ge=1)
    """Number of last blocks of the image tower that exist twice, frozen and tuned. Each costs a twentieth of
    the tower's time."""
    steps: int = Field(900, ge=1)
    batch: Batch = Batch()
    hidden: int = Field(1024, ge=1)
    """Width of the layer that known words and embedding share."""
    rates: Rates = Rates()
    losses: LossWeights = LossWeights()
    clip_norm: float = 5.0
    """Maximum norm of the gradient over all parameters."""
    averaging: float = Field(0.995, gt=0, lt=1)
    """Decay of the weights' moving average, which is saved at the end and, in the first stage, makes
    pseudo-labels."""
    own_share: float = Field(0.7, ge=0, le=1)
    """Final share of the averaged weights in the first stage's pseudo-labels of unknown labels; the teacher
    has the rest."""
    own_share_from: float = Field(0.4, gt=0, le=1)
    """Share of the steps over which `own_share` grows from 0."""
    save_every: int = Field(100, ge=1)
    """Steps between two saves of the state."""
    seed: int = Field(0, ge=0)


class ViewsConfig(Frozen):
    """A later stage of the training, which also sees random crops. Its pseudo-labels are what the network of
    the stage before says, averaged over the photograph and its crops."""

    count: int = Field(8, ge=1)
    """Number of crops of each densely labelled photograph."""
    others: int = Field(1, ge=0)
    """Number of crops of every other photograph."""
    steps: int = Field(1100, ge=1)
    rate: float = Field(0.4, gt=0)
    """Maximum learning rates of this stage as a share of `training.rates`."""
    coco_weight: float = Field(1.0, gt=0)
    """Weight of a photograph that has COCO labels, multiplied by that of its source."""
    image_size: int | None = Field(None, ge=64, multiple_of=64)
    """Side of the photographs in pixels, in this stage and all that follows it; None: as before. A last stage
    with larger photographs costs less than a whole training with them. A multiple of 64, so that the last
    map divides into tokens."""
    class_scale: float = Field(1.0, gt=0)
    """Factor for the logits of ImageNet's classifier from this stage on. The classifier was trained at 260
    pixels, and the larger a photograph is, the smaller are its logits."""


class LeftOutConfig(Frozen):
    """A second training without some words; its logits for them are used to fit the weights of new words."""

    count: int = Field(150, ge=1)
    """Number of names of `everyday` to draw."""
    coco: tuple[str, ...] = ()
    """COCO labels to leave out too, as in `hidden_coco`."""
    other_names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other names of these labels."""
    steps: int = Field(500, ge=1)
    """Number of training steps, instead of `training.steps`."""
    seed: int = Field(7, ge=0)
    """Seed of the draw."""


class KnownWordsConfig(Frozen):
    """Which words get their own logit; with fewer photographs, nothing reliable is learned. A word that
    reaches neither number is a new word."""

    dense: int = Field(5, ge=0)
    """Minimum number of densely labelled photographs that show a word, or"""
    others: int = Field(20, ge=0)
    """minimum number of other photographs that show it."""
    captions: int = Field(20, ge=1)
    """Minimum number of photographs whose captions mention a new word, for its mentions to be predicted."""


class GraphConfig(Frozen):
    """What known words imply about one another, learned from the scores of photographs not trained on."""

    rank: int = Field(64, ge=1)
    teacher_steps: int = Field(320, ge=1)
    """Training steps of each of the two classifiers that compute these scores."""
    steps: int = Field(600, ge=1)
    weight_decay: float = 0.5


class EverydayConfig(Frozen):
    """The data, what is withheld from training, and the training itself."""

    task: Literal["everyday"] = "everyday"
    everyday: Path
    """Folder of the densely labelled photographs: `labels.jsonl`, `names.txt`, `photographs/`."""
    coco: Path
    """Folder in COCO's layout: `train2014` is trained on, `val2014` never is."""
    coco_labels: Path | None = None
    """Folder of COCO's labels by id, `train_cls.txt` and `val_cls.txt`, which give most photographs of
    `coco_course` the labels of all categories. None: they have the first 18."""
    sources: dict[SourceName, Path] = Field(default_factory=dict)
    """Data set -> the folder of its repository."""
    flickr8k_captions: Path | None = None
    """File of Flickr8k's captions, with lines `image,caption`; None: no captions."""
    drawn: int = Field(40, ge=0)
    """Number of drawn pictures of each kind; they show nothing, so that an empty picture gets no label."""
    vocabulary: Path
    """Vocabulary with the parents and synonyms of the names."""
    label_lists: tuple[Path, ...]
    """Lists of words to look for in captions, beside the names of `everyday`."""
    hidden_words: tuple[str, ...] = ()
    """Names of `everyday` withheld from all label supervision: targets and class names. Captions may name
    them, as they may name any word."""
    hidden_coco: tuple[str, ...] = ()
    """COCO labels withheld in the same way, with all narrower names and captions that name one."""
    other_names: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Other names of hidden labels, which are removed from texts too."""
    source_weights: dict[SourceName, float] = Field(default_factory=dict)
    """How often a photograph of a source is drawn, relative to 1."""
    draw_seed: int = Field(0, ge=0)
    """Seed for choosing photographs from large classes; it should be the same in all runs that are
    compared."""
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
    views: tuple[ViewsConfig, ...] = (
        ViewsConfig(),
        ViewsConfig(steps=1000, coco_weight=4),
        ViewsConfig(steps=1200, coco_weight=3),
        ViewsConfig(steps=800, others=0, coco_weight=3, image_size=384, class_scale=1.32),
    )
    """The stages with random crops, in order; the weights of one are the start of the next."""
    left_out: LeftOutConfig | None = None
    """None: there is no second training, and new words get default weights."""
    known_words: KnownWordsConfig = KnownWordsConfig()
    graph: GraphConfig = GraphConfig()
    background: dict[SourceName, int] = _BACKGROUND
    """Source -> number of photographs to draw for the background set; all, if it has fewer."""
    cache: Path = Path("cache/everyday")
    """Folder for the features of texts and of the frozen tower: 4 GB for 88,000 photographs, 5 GB for their
    crops, 8 GB for the last stage."""
    threads: int = Field(2, ge=1)
    """Number of torch threads. A run repeats exactly only with the same number."""
