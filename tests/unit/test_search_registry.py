from __future__ import annotations

import subprocess
import sys
from typing import get_args

from pydantic import TypeAdapter

from kerasweep.records import Direction, Objective
from kerasweep.search.registry import SEARCHERS, make_searcher
from kerasweep.space import Space
from kerasweep.spec.parameters import Int
from kerasweep.spec.searchers import SearcherSpec

LOSS = Objective("val_loss", Direction.MINIMIZE)


def test_every_searcher_of_the_spec_can_be_made_and_no_other() -> None:
    specs = TypeAdapter(SearcherSpec)
    union = get_args(SearcherSpec)[0]
    names = {get_args(member)[0].model_fields["name"].default for member in get_args(union)}
    assert names == set(SEARCHERS)
    for name in names:
        searcher = make_searcher(specs.validate_python(name), Space.of(x=Int(min=0, max=9)), LOSS, seed=1)
        assert len(searcher.ask(3)) == 3


def test_options_reach_the_searcher() -> None:
    spec = TypeAdapter(SearcherSpec).validate_python({"name": "grid", "steps": 3})
    searcher = make_searcher(spec, Space.of(x=Int(min=0, max=100)), LOSS, seed=1)
    assert sorted(candidate.params["x"] for candidate in searcher.ask(10)) == [0, 50, 100]


def test_optuna_is_loaded_only_for_what_needs_it() -> None:
    script = (
        "import sys\n"
        "from kerasweep.search import make_searcher\n"
        "from kerasweep.space import Space\n"
        "from kerasweep.spec.parameters import Int\n"
        "from kerasweep.spec.searchers import RandomSearch\n"
        "make_searcher(RandomSearch(), Space.of(x=Int(min=0, max=9)), None, 1).ask(2)\n"
        "sys.exit('optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
