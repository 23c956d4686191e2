"""Cohorts: many members trained as one program.

A cohort is taken apart into stacks (``crew``), each of one signature (``blueprint``) and packed by size (``packing``).
A stack (``stack``) trains an epoch as one compiled program (``program``), which walks the template's layers
(``layers``, ``convolutions``, ``philox``), and updates all members' weights at once (``optimizers``).
"""

from kerasweep.training.cohort.trainer import CohortTrainer

__all__ = ["CohortTrainer"]
