"""Whether what a user's builder makes can be delivered, found out before anything is trained."""

from __future__ import annotations

from kerasweep.data import SearchData
from kerasweep.delivery import assemble, check_formats
from kerasweep.errors import DeliveryError
from kerasweep.models import ModelBuilder, import_tensorflow
from kerasweep.models.several import NamesDiffer
from kerasweep.seeds import derive
from kerasweep.space import Space
from kerasweep.spec.pipeline import PipelineSpec


def check_deliverable(spec: PipelineSpec, models: ModelBuilder, data: SearchData) -> None:
    """Builds one model and sees whether the pipeline's later stages can take it; models of a family are known to fit.

    It is that of the lowest and first values of the space, small enough for this process. If it cannot be built that
    says nothing of others: its own trial fails, and is recorded.

    Args:
        spec: of the study.
        models: builds the study's models.
        data: of the study.

    Raises:
        NamesDiffer: its inputs or outputs are not called as the data's.
        DeliveryError: a format, the registry, or the preprocessing in front of it cannot take it; the message says why.
    """
    if spec.model.builder is None:
        return
    import_tensorflow()
    import tensorflow as tf

    params = {**spec.training.fixed, **Space(spec.space).corner(0.0)}
    with tf.device("/CPU:0"):  # cards are for the workers
        try:
            body = models.build(params, derive(spec.search.seed, "deliverable"))
        except NamesDiffer:
            raise
        except Exception:
            return
        assemble(data.preprocessing, body, data.facts.heads)
        check_formats(spec.export.formats, body=body)
        if spec.register_ is not None:
            try:
                check_formats(["keras"], body=body)
            except DeliveryError as error:
                raise DeliveryError(
                    f"{error}\nThe registry keeps that format; register: null leaves it out."
                ) from error
