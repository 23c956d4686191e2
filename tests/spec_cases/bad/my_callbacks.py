"""Classes that the cases name; nothing here is ever run."""

import keras


class Stopper(keras.callbacks.Callback):
    def __init__(self, patience, *, verbose=False):
        raise RuntimeError("only the signature is read")


class Plain(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("only the source is read")


class Open(keras.callbacks.Callback):
    def __init__(self, **options):
        raise RuntimeError("only the signature is read")


def helper():
    raise RuntimeError("only the source is read")
