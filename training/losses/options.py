"""The single-positive losses and their parameters: `loss: {kind: ...}` in a configuration.

A parameter that the published code sets per data set has no default; its docstring lists the published
values.
"""

from typing import Annotated, Literal

from pydantic import Field

from sigrl.model.config import Frozen

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Exponent = Annotated[int, Field(ge=0)]
"""An integer, because a power below 1 has an infinite slope at probability 0."""


class _Smoothed(Frozen):
    smoothing: Share = 0.1
    """Target of a negative, and one minus the target of a positive (`ls_coef`)."""


class _CountsPositives(Frozen):
    expected_positives: float = Field(gt=0)
    """Average number of positive labels per photograph (`expected_num_pos`): VOC 1.5, COCO 2.9."""


class _MaximizesEntropy(Frozen):
    entropy_weight: Weight
    """Weight of the entropy of unknown labels (`alpha`): VOC 0.2, COCO 0.1."""


class _UsesPseudoLabels(_MaximizesEntropy):
    warmup_epochs: int = Field(0, ge=0)
    """Number of initial epochs that ignore pseudo-labels and use the loss `em` (`warmup_epoch`)."""


class Bce(Frozen):
    """Binary cross-entropy with the full labels, the reference for all others."""

    kind: Literal["bce"] = "bce"


class BceLs(_Smoothed):
    """`bce` with label smoothing."""

    kind: Literal["bce_ls"] = "bce_ls"


class Iun(Frozen):
    """Observed positives and all true negatives; unobserved positives are left out."""

    kind: Literal["iun"] = "iun"


class Iu(Frozen):
    """Only observed positives and observed negatives."""

    kind: Literal["iu"] = "iu"


class Pr(Frozen):
    """Pairwise ranking of probabilities: each observed positive above every other label by 1."""

    kind: Literal["pr"] = "pr"


class An(Frozen):
    """Unknown labels are assumed to be negative."""

    kind: Literal["an"] = "an"


class AnLs(_Smoothed):
    """`an` with label smoothing."""

    kind: Literal["an_ls"] = "an_ls"


class Wan(Frozen):
    """`an` with the assumed negatives weighted by 1 / (C - 1)."""

    kind: Literal["wan"] = "wan"


class Epr(_CountsPositives):
    """Observed positives, and a penalty that pulls the expected number of positives to its average."""

    kind: Literal["epr"] = "epr"


class Role(_CountsPositives):
    """Regularised online label estimation: `epr` for the predictions and for estimated labels, which teach
    each other."""

    kind: Literal["role"] = "role"


class Em(_MaximizesEntropy):
    """Observed positives; the entropy of unknown labels is maximised."""

    kind: Literal["em"] = "em"


class EmApl(_MaximizesEntropy):
    """`em`, with soft negatives from AckTheUnknown's asymmetric pseudo-labelling (`pseudo_labels`)."""

    kind: Literal["em_apl"] = "em_apl"
    pseudo_label_weight: Weight
    """Published as `beta`: VOC 0.02, COCO 0.9."""
    warmup_epochs: int = Field(ge=0)
    """Number of initial epochs without pseudo-labels (`warmup_epoch`); the quotas are divided among the
    others."""
    negative_share: Share = 0.9
    """Share of each class's unknown labels that end up as pseudo-negatives (`neg_proportion`)."""


class EmPl(_UsesPseudoLabels):
    """`em`, with VLPL's pseudo-labels as smoothed targets."""

    kind: Literal["em_pl"] = "em_pl"
    positive_weight: Weight = 0.7
    """Published as `beta_pos`."""
    negative_weight: Weight = 0.0
    """Published as `beta_neg`; at 0, as published, a pseudo-negative and its entropy are left out of the
    loss."""
    smoothing: Share = 0.1


class EmPlAsl(_UsesPseudoLabels):
    """`em_pl` as an asymmetric focal loss: predictions that are already right count little."""

    kind: Literal["em_pl_asl"] = "em_pl_asl"
    positive_exponent: Exponent = 2
    """Exponent of 1 - p on observed and pseudo-positives (`positive`)."""
    negative_exponent: Exponent = 4
    """Exponent of p on observed and pseudo-negatives (`negative`)."""
    unknown_exponent: Exponent = 4
    """Exponent of 1 - p on the entropy of the rest (`unknown`), which has no other weight after the
    warm-up."""


SinglePositiveOptions = Annotated[
    Bce | BceLs | Iun | Iu | Pr | An | AnLs | Wan | Epr | Role | Em | EmApl | EmPl | EmPlAsl,
    Field(discriminator="kind"),
]
