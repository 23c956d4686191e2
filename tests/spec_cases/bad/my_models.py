"""Functions that the cases name; nothing here is ever run."""


def build_model(n_hidden, n_neurons=30, *, learning_rate=3e-3, n_outputs=1):
    raise RuntimeError("only the signature is read")


def load_rows():
    raise RuntimeError("only the signature is read")


def load_from(path):
    raise RuntimeError("only the signature is read")
