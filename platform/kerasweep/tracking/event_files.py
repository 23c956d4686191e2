"""TensorBoard's event files, written without TensorFlow: events as bytes, and which file each of them is for.

The format is a sequence of ``Event`` messages, each framed as a TFRecord. ``tensorboard`` brings both; its own writer,
and the ``summary`` module of its HParams plugin, would import TensorFlow, which takes seconds.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kerasweep.records import Metrics, Params, ParamValue

# TensorBoard reads `.tfevents.`; the rest is what TensorFlow writes, so that files sort by time.
_FILE = "events.out.tfevents.{started:010d}.{host}.{process}"
_VERSION = "brain.Event:2"


@dataclass(frozen=True)
class Domain:
    """What a hyperparameter may be.

    Attributes:
        kind: ``string``, ``bool`` or ``float64``.
        bounds: the least and the greatest value; None for a list of values.
        values: all that are possible, where there are no bounds.
    """

    kind: str
    bounds: tuple[float, float] | None = None
    values: tuple[ParamValue, ...] = ()


def file_name(started: float) -> str:
    """Of a run's only event file, the same for all runs of a study; ``started`` in seconds since the Unix epoch."""
    return _FILE.format(started=int(started), host=socket.gethostname(), process=os.getpid())


def trial_folder(trial: int) -> str:
    """The run of a trial, below its study's folder."""
    return f"trial_{trial:04d}"


def tag(metric: str) -> tuple[str, str]:
    """Where TensorBoard's Keras callback shows a metric: the run below the trial's own, and the tag.

    A metric and its ``val_`` twin have one tag, so that one chart shows both.
    """
    name = metric.removeprefix("val_")
    return ("train" if name == metric else "validation"), f"epoch_{name}"


def first_event(at: float) -> Any:
    """What every event file begins with; ``at`` in seconds since the Unix epoch, here and below."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=at, file_version=_VERSION)


def restart_event(step: int, at: float) -> Any:
    """Makes TensorBoard forget what this run said of a step and of those after it."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    return Event(wall_time=at, step=step, session_log=SessionLog(status=SessionLog.START))


def scalar_event(values: Metrics, step: int, at: float) -> Any:
    """Scalars of one step, by their tags."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    return Event(wall_time=at, step=step, summary=summary)


def histogram_event(buckets: Mapping[str, NDArray[np.float64]], step: int, at: float) -> Any:
    """Histograms of one step, by their tags: of each bucket where it begins, where it ends, and its count."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.histogram import metadata
    from tensorboard.util import tensor_util

    known = metadata.create_summary_metadata(display_name=None, description=None)
    values = [
        Summary.Value(tag=tag, metadata=known, tensor=tensor_util.make_tensor_proto(each, np.float64))
        for tag, each in buckets.items()
    ]
    return Event(wall_time=at, step=step, summary=Summary(value=values))


def graph_event(graph: bytes, at: float) -> Any:
    """A serialised ``GraphDef``."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=at, graph_def=graph)


def session_start_event(name: str, params: Params, at: float) -> Any:
    """HParams: a trial begins with these parameters; texts, booleans or numbers as they were declared."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo(group_name=name, start_time_secs=at)
    for key, value in params.items():
        if isinstance(value, bool):
            info.hparams[key].bool_value = value
        elif isinstance(value, str):
            info.hparams[key].string_value = value
        else:
            info.hparams[key].number_value = value
    return _hparams_event("SESSION_START_INFO_TAG", HParamsPluginData(session_start_info=info), at)


def session_end_event(status: str, at: float) -> Any:
    """HParams: a trial has ended, with ``success``, ``failure`` or ``unknown``."""
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    info = SessionEndInfo(status=api_pb2.Status.Value(f"STATUS_{status.upper()}"), end_time_secs=at)
    return _hparams_event("SESSION_END_INFO_TAG", HParamsPluginData(session_end_info=info), at)


def experiment_event(
    domains: Mapping[str, Domain], metrics: Iterable[tuple[str, str, str]], description: str, at: float
) -> Any:
    """HParams: what varies between the trials, and what is measured.

    Args:
        domains: of the hyperparameters, by name.
        metrics: (run below the trial's own, tag, what the table calls it).
        description: in Markdown.
        at: as above.
    """
    from tensorboard.plugins.hparams.api_pb2 import (
        DatasetType,
        DataType,
        Experiment,
        HParamInfo,
        MetricInfo,
        MetricName,
    )
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    experiment = Experiment(description=description, time_created_secs=at)
    for name, domain in domains.items():
        info = HParamInfo(name=name, type=DataType.Value(f"DATA_TYPE_{domain.kind.upper()}"))
        if domain.bounds is None:
            info.domain_discrete.extend(domain.values)
        else:
            info.domain_interval.min_value, info.domain_interval.max_value = domain.bounds
        experiment.hparam_infos.append(info)
    for group, tagged, shown in metrics:
        kind = {"train": "TRAINING", "validation": "VALIDATION"}.get(group, "UNKNOWN")
        experiment.metric_infos.append(
            MetricInfo(
                name=MetricName(group=group, tag=tagged),
                display_name=shown,
                dataset_type=DatasetType.Value(f"DATASET_{kind}"),
            )
        )
    return _hparams_event("EXPERIMENT_TAG", HParamsPluginData(experiment=experiment), at)


def _hparams_event(tag: str, data: Any, at: float) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata

    value = Summary.Value(
        tag=getattr(metadata, tag), metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR
    )
    return Event(wall_time=at, summary=Summary(value=[value]))


def clear(folder: Path) -> None:
    """Deletes the event files that lie directly in a folder, which need not exist.

    Raises:
        OSError: one of them cannot be deleted.
    """
    for path in folder.glob("*.tfevents.*"):
        path.unlink()


def append(path: Path, events: Iterable[Any]) -> None:
    """Adds events to a file, and makes it and its folders if they are not there; it is open meanwhile only.

    Raises:
        OSError: it cannot be written.
    """
    from tensorboard.summary.writer.record_writer import RecordWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        records = RecordWriter(stream)
        for event in events:
            records.write(event.SerializeToString())
