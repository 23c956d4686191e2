"""The models of the pipelines on California housing that build their own."""

import keras


def two_inputs(
    input_shape, n_hidden=2, n_neurons=30, aux_weight=0.1, optimizer="sgd", learning_rate=1e-3, momentum=0.0
):
    """The wide and deep network of chapter 10 with the Functional API: two inputs, a main and an auxiliary output.

    Args:
        input_shape: input -> shape of one of its rows, as the pipeline's ``data.inputs`` make it.
        n_hidden: hidden layers of the deep part.
        n_neurons: of each of them.
        aux_weight: of the auxiliary output's loss; the main output's has the rest of 1.
        optimizer: ``sgd`` or ``adam``.
        learning_rate: of either.
        momentum: of ``sgd``.
    """
    wide = keras.Input(input_shape["wide_input"], name="wide_input")
    deep = keras.Input(input_shape["deep_input"], name="deep_input")
    hidden = deep
    for _ in range(n_hidden):
        hidden = keras.layers.Dense(n_neurons, activation="relu")(hidden)
    main = keras.layers.Dense(1, name="main_output")(keras.layers.Concatenate()([wide, hidden]))
    aux = keras.layers.Dense(1, name="aux_output")(hidden)
    model = keras.Model(inputs=[wide, deep], outputs=[main, aux])
    algorithm = keras.optimizers.Adam(learning_rate) if optimizer == "adam" else None
    model.compile(
        algorithm or keras.optimizers.SGD(learning_rate, momentum),
        loss={"main_output": "mse", "aux_output": "mse"},
        loss_weights={"main_output": 1 - aux_weight, "aux_output": aux_weight},
        metrics={"main_output": ["mae"], "aux_output": ["mae"]},
    )
    return model
