"""From raw rows to the features a network's body takes."""
from dataclasses import dataclass
@dataclass(frozen=True)
class Preprocessing: ...
