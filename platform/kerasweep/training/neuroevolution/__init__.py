"""Training without gradients: the weights of a trial's network evolve."""

from kerasweep.training.neuroevolution.trainer import Evolution, NeuroevolutionTrainer

__all__ = ["Evolution", "NeuroevolutionTrainer"]
