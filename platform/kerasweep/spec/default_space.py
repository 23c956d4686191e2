"""The space of the family ``auto`` where a pipeline leaves it out.

The ranges are those that Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021, appendix F), tune
networks for tables in, cut to what trains within minutes on a few cores: at most 128 units, where they go to 512 and
more, and 3 layers or blocks, where they go to 8. So are AdamW, and batch normalisation in residual networks and not in
perceptrons. Learning rates reach up to 0.03, where theirs end at 0.01, because studies here train for tens of epochs
and not for hundreds. Convolutions begin with 16 or 32 filters, as the smaller networks in chapter 14 of Géron's
"Hands-On Machine Learning" do. What the first trial tries, the priors, are middling values that rarely fail.
"""

from __future__ import annotations

from kerasweep.spec.parameters import Choice, Fixed, Float, Int, Parameter, SpaceSpec
from kerasweep.spec.pipeline import DataSpec
from kerasweep.spec.vocabulary import DATASETS

_TABLES = ("linear", "mlp", "residual", "wide_deep")


def default_space(images: bool) -> SpaceSpec:
    """The space for tables, or for images: then with convolutional networks, too.

    Linear and wide and deep networks stay in it for images: they cost little, and say what the others are worth.
    """
    architectures = [*_TABLES, "cnn"] if images else [*_TABLES]
    hidden = [name for name in architectures if name != "linear"]
    normalised = ["residual", "cnn"] if images else ["residual"]
    parameters: dict[str, Parameter] = {
        "architecture": Choice(values=[*architectures], prior="cnn" if images else "mlp"),
        "n_hidden": Int(min=1, max=3, prior=2, when={"architecture": ["mlp", "wide_deep"]}),
        "n_blocks": Int(min=1, max=3, prior=2, when={"architecture": ["residual"]}),
        "n_neurons": Int(min=16, max=128, log=True, prior=64, when={"architecture": [*hidden]}),
        "activation": Fixed(value="relu", when={"architecture": [*hidden]}),
        "batch_norm": Fixed(value=True, when={"architecture": [*normalised]}),
        "dropout": Float(min=0.0, max=0.5, prior=0.1, when={"architecture": [*hidden]}),
    }
    if images:
        parameters["n_conv"] = Int(min=1, max=3, prior=2, when={"architecture": ["cnn"]})
        parameters["filters"] = Choice(values=[16, 32], prior=32, when={"architecture": ["cnn"]})
    parameters |= {
        "optimizer": Fixed(value="adamw"),
        "learning_rate": Float(min=1e-4, max=3e-2, log=True, prior=2e-3),
        "weight_decay": Float(min=1e-6, max=1e-2, log=True, prior=1e-4),
    }
    return SpaceSpec(parameters=parameters)


def shows_images(data: DataSpec) -> bool | None:
    """Whether a row is an image; None if that shows when the data is read only."""
    if data.name is not None:
        return DATASETS[data.name].images
    return None if data.csv is None else False
