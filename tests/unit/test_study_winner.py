"""What becomes of a winner's weights: one model from raw rows to predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kerasweep.data import as_inputs, load_search, transform
from kerasweep.delivery import predict
from kerasweep.records import Trial
from kerasweep.spec import pipeline_from_mapping
from kerasweep.study.origin import Origin, models_for
from kerasweep.study.winner import assembled

TABLE = "town,rooms,area,price\n" + "".join(
    f"{('Lyon', 'Graz', 'Porto')[i % 3]},{i % 5 or ''},{40 + 7 * i % 90},{i % 11}\n" for i in range(60)
)


def test_an_auxiliary_output_is_left_behind_and_columns_go_their_ways() -> None:
    Path("houses.csv").write_text(TABLE)
    mapping = {
        "name": "houses",
        "data": {"csv": "houses.csv", "target": "price", "task": "regression"},
        "model": {"family": "wide_deep", "wide": ["town"], "deep": ["area", "rooms"]},
        "space": {"parameters": {"aux_weight": {"type": "float", "min": 0.0, "max": 0.2}}},
        "training": {"fixed": {"n_neurons": 4}},
    }
    spec = pipeline_from_mapping(mapping, Path.cwd()).spec
    data = load_search(spec.data, Path.cwd())
    models = models_for(spec, data, Origin(Path.cwd()))
    trial = Trial(0, {"aux_weight": 0.2}, seed=3)
    body = models.build({"n_neurons": 4, **trial.params}, 8)
    weights = [weight + 0.1 for weight in body.get_weights()]
    model = assembled(spec, trial, weights, models, data)

    features = transform(data.preprocessing, data.validation.x)
    hidden, bias, out, last, *auxiliary = weights
    assert [weight.shape for weight in auxiliary] == [(4, 1), (1,)]
    town = slice(3, None)  # behind rooms, area and whether rooms are missing
    deep = np.maximum(features[:, [1, 0, 2]] @ hidden + bias, 0)
    expected = np.concatenate([features[:, town], deep], axis=1) @ out + last
    np.testing.assert_allclose(predict(model, data.validation.x), expected, rtol=1e-4, atol=1e-5)
    assert sorted(as_inputs(data.validation.x, data.preprocessing)) == ["area", "rooms", "town"]
    assert model.output_shape == (None, 1)
