"""The model registry: versions of a model under one name, and the alias that points to the best."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kerasweep.errors import DeliveryError, TrackingError
from kerasweep.records import Metrics
from kerasweep.tracking import layout
from kerasweep.tracking.mlflow_store import MlflowStore
from kerasweep.tracking.model_folder import Delivered, save
from kerasweep.tracking.opening import connect, translated
from kerasweep.tracking.runs import pages
from kerasweep.tracking.uris import redact

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TEST = "test_"
_CLASSES = "kerasweep.classes"


@dataclass(frozen=True)
class Champion:
    """The version that an alias points to, with its test metrics."""

    version: int
    metrics: Metrics


class Registry:
    """Registered models of one store. The decision whether an alias moves is the caller's.

    Args:
        uri: a resolved address.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def champion(self, name: str, alias: str) -> Champion | None:
        """The version under an alias, None if there is none.

        Raises:
            TrackingError: the store does not answer.
        """
        client = connect(self._uri, create=False)
        if client is None:
            return None
        from mlflow.exceptions import MlflowException

        with translated(self._uri):
            try:
                version = client.get_model_version_by_alias(name, alias)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise
        return Champion(int(version.version), _metrics_of(version.tags))

    def register(self, name: str, delivered: Delivered) -> int:
        """Log the model to its study and add it to the registry as a new version.

        Afterwards ``mlflow models serve -m models:/NAME/VERSION`` answers requests with raw rows. A model of one
        array and one output is of MLflow's keras flavour; any other is a small pyfunc around the ``.keras`` file,
        because that flavour takes neither text nor named columns, and gives one output only.

        Returns:
            The new version's number.

        Raises:
            DeliveryError: the model cannot be read, or refuses the example.
            StudyNotFound: the study is not in the store.
            TrackingError: the store does not answer.
        """
        run_id = MlflowStore(self._uri).run_id(delivered.study)
        client = connect(self._uri, create=False)
        if client is None:
            raise TrackingError(f"a model's study must be in the store. Received: no store at {redact(self._uri)}")
        with tempfile.TemporaryDirectory(prefix="kerasweep-model-") as scratch:
            folder = Path(scratch) / "model"
            with translated(self._uri):
                experiment = client.get_run(run_id).info.experiment_id
                model_id = _create_logged_model(client, experiment, name, run_id, delivered.study)
            try:
                save(folder, delivered, run_id, model_id)
            except Exception:
                client.finalize_logged_model(model_id, "FAILED")
                raise
            with translated(self._uri):
                return self._publish(client, name, delivered, _Logged(run_id, model_id, folder))

    def version_of(self, name: str, delivered: Delivered) -> int | None:
        """The newest version that a study has registered with the same metrics; None if there is none.

        Raises:
            TrackingError: the store does not answer.
        """
        client = connect(self._uri, create=False)
        if client is None:
            return None
        quoted = name.replace("'", "\\'")
        with translated(self._uri):
            versions = client.search_model_versions(f"name='{quoted}'")
        same = [
            int(version.version)
            for version in versions
            if version.tags.get(layout.STUDY) == delivered.study and _metrics_of(version.tags) == delivered.metrics
        ]
        return max(same, default=None)

    def discard(self, study: str) -> None:
        """Deletes the models that a study logged and did not register: its driver was killed before it could.

        Raises:
            StudyNotFound: the study is not in the store.
            TrackingError: the store does not answer.
        """
        run_id = MlflowStore(self._uri).run_id(study)
        client = connect(self._uri, create=False)
        if client is None:
            return
        with translated(self._uri):
            experiment = client.get_run(run_id).info.experiment_id
            logged = pages(
                lambda token: client.search_logged_models(
                    [experiment], f"tags.`{layout.STUDY}` = '{study}'", page_token=token
                )
            )
            registered = {version.source for version in client.search_model_versions(f"run_id='{run_id}'")}
            for model in [model for model in logged if model.artifact_location not in registered]:
                client.delete_logged_model(model.model_id)

    def fetch(self, reference: str, into: Path) -> tuple[int, Path]:
        """A registered version's number, and its ``.keras`` file.

        Args:
            reference: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
            into: a folder to download to.

        Raises:
            DeliveryError: there is no such version, or it holds no ``.keras`` file.
            TrackingError: the store does not answer.
        """
        client = connect(self._uri, create=False)
        name, _, alias = reference.removeprefix("models:/").partition("@")
        name, _, number = name.partition("/")
        if client is None:
            raise DeliveryError(f"{reference} must be registered. Received: no store at {redact(self._uri)}")
        from mlflow.exceptions import MlflowException

        with translated(self._uri):
            try:
                found = (
                    client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
                )
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise DeliveryError(f"{reference} must be registered. Received: none in the store") from error
                raise
            from mlflow.artifacts import download_artifacts

            folder = Path(download_artifacts(artifact_uri=found.source, dst_path=str(into), tracking_uri=self._uri))
        files = sorted(folder.rglob("*.keras"))
        if not files:
            raise DeliveryError(f"{reference} must hold a .keras file. Received: none among its files")
        return int(found.version), files[0]

    def move_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias to a version.

        Raises:
            TrackingError: there is no such version, or the store does not answer.
        """
        client = connect(self._uri, create=False)
        if client is None:
            raise TrackingError(f"an alias points to a registered version. Received: no store at {redact(self._uri)}")
        with translated(self._uri):
            client.set_registered_model_alias(name, alias, str(version))

    def _publish(self, client: MlflowClient, name: str, delivered: Delivered, logged: _Logged) -> int:
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        client.log_model_artifacts(logged.model_id, str(logged.folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(logged.run_id, [LoggedModelOutput(logged.model_id, step=0)])
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        tags = {
            layout.STUDY: delivered.study,
            **({_CLASSES: json.dumps(delivered.outputs or delivered.classes)} if delivered.classes else {}),
            **{f"{_TEST}{layout.quote(metric)}": repr(float(value)) for metric, value in delivered.metrics.items()},
        }
        # Not "models:/ID", which a database store resolves with the process's global address instead of its own.
        source = client.get_logged_model(logged.model_id).artifact_location
        version = client.create_model_version(name, source, logged.run_id, tags, model_id=logged.model_id)
        # The link from the logged model's page to its version.
        link = json.dumps([{"name": name, "version": version.version}])
        client.set_logged_model_tags(logged.model_id, {"mlflow.modelVersions": link})
        return int(version.version)


def _metrics_of(tags: Mapping[str, str]) -> Metrics:
    """A version's metrics on the test split."""
    return {
        layout.unquote(tag.removeprefix(_TEST)): float(value) for tag, value in tags.items() if tag.startswith(_TEST)
    }


@dataclass(frozen=True)
class _Logged:
    """A model's files on their way into the store."""

    run_id: str
    model_id: str
    folder: Path


def _create_logged_model(client: MlflowClient, experiment: str, name: str, run_id: str, study: str) -> str:
    plain = re.sub(
        r"[^\w-]", "-", name
    )  # the name of a logged model takes fewer characters than that of a registered one
    tags = {layout.STUDY: study}
    created = client.create_logged_model(experiment, name=plain, source_run_id=run_id, tags=tags, model_type="keras")
    return str(created.model_id)
