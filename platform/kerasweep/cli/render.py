"""Results for people: what a pipeline gave, a study's best trials, all studies, and a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kerasweep.cli.quantities import ABSENT, counted, duration, ended, names, number, setting, settings
from kerasweep.records import OVERFITTING, Objective, ParamValue, Status, StudyRecord, Trial

if TYPE_CHECKING:
    from kerasweep.pipeline import Comparison, FoundRate, Plan
    from kerasweep.pipeline.mattering import Mattering
    from kerasweep.pipeline.result import PipelineResult, Registered
    from kerasweep.report.narrowing import NextSpace

_STYLES = {"finished": "green", "stopped": "yellow", "interrupted": "yellow", "failed": "red", "running": "cyan"}
_FOLDING = {"parameters", "objective"}  # columns that may be broken over several lines, given at least this width:
_FOLDED_WIDTH = 24
_REASONS_SHOWN = 5
_DIFFERENCES_SHOWN = 10


def result(
    outcome: PipelineResult, metric: str, store: str, *, default_store: bool, command: str = "kerasweep"
) -> RenderableType:
    """What ``run`` prints at its end.

    Args:
        outcome: of the pipeline.
        metric: the objective's name.
        store: the address of the tracking store, without secrets.
        default_store: whether the commands to type next find this store without being told.
        command: what to type to start kerasweep.
    """
    total = f" in {duration(outcome.seconds['total'])}" if "total" in outcome.seconds else ""
    parts = [
        Text.assemble((outcome.study, "bold"), " ", _status(outcome.status), total),
        Text(_counts(outcome.trials)),
        *_winner(outcome.best, metric),
        *_test_split(outcome),
        *_section("exports", outcome.exports.items()),
        *(_section("model", _registered(outcome.model)) if outcome.model else ()),
        *_section("time", ((s, duration(spent)) for s, spent in outcome.seconds.items() if s != "total")),
        *_section("tracking", [("store", store)]),
    ]
    option = "" if default_store else f" --tracking-uri {store}"
    following = [f"{command} ui{option}", f"{command} show {outcome.study}{option}"]
    return Group(*parts, *_heading("next"), *(Text(f"  {line}") for line in following))


def comparison(found: Comparison) -> RenderableType:
    """What ``rerun`` prints."""
    said = Text.assemble(("the same", "bold green")) if found.same else Text.assemble(("not the same", "bold red"))
    parts = [Text.assemble(f"{found.first} and {found.second}: ", said, f", {counted(found.trials, 'trial')}")]
    shown = [(line, "") for line in found.differences[:_DIFFERENCES_SHOWN]]
    if (more := len(found.differences) - _DIFFERENCES_SHOWN) > 0:
        shown.append((f"{more} more", ""))
    return Group(
        *parts, *_section("differences", shown), *_section("around them", [(line, "") for line in found.surroundings])
    )


def found_rate(found: FoundRate) -> RenderableType:
    """What ``lr-find`` prints."""
    test = found.test
    said = Text(test.reason, "red")
    if test.suggestion is not None:
        said = Text.assemble((f"learning rate {setting(test.suggestion)}", "bold green"))
    rows = [
        ("turning point", setting(test.turning) if test.turning is not None else ABSENT),
        ("tested", f"{test.rates[0]:g} to {test.rates[-1]:g} in {counted(len(test.rates), 'step')}"),
        ("batch size", str(found.batch_size)),
        ("parameters", settings(found.params)),
        *([("figure", str(found.figure))] if found.figure is not None else ()),
        ("time", duration(found.seconds)),
    ]
    return Group(said, *_section("range test", rows))


def study(record: StudyRecord, best: Sequence[Trial]) -> RenderableType:
    """What ``show`` prints.

    Args:
        record: with its trials.
        best: those to list, best first.
    """
    counts = Counter(trial.status.value for trial in record.trials)
    running = f", {counts['running']} running" if counts["running"] else ""
    parts: list[RenderableType] = [
        Text.assemble((record.id, "bold"), " ", _status(record.status), f", started {_moment(record.started)}"),
        Text(f"{_goal(record.objective)}; {_counts(counts)}{running}"),
    ]
    if overfitting := sum(trial.overfits is True for trial in record.trials):
        share = f"over {OVERFITTING:g} times the training loss on validation data, at the best epoch"
        parts.append(Text(f"overfitting: {counted(overfitting, 'trial')} with {share}"))
    test, model = record.summary.get("test"), record.summary.get("model")
    if isinstance(test, Mapping) and test:
        parts.append(Text("test split: " + ", ".join(f"{name} {number(value)}" for name, value in test.items())))
    if isinstance(model, Mapping) and model.get("uri"):
        parts.append(Text(f"model: {model['uri']}"))
    reasons = Counter(
        (trial.reason.strip().splitlines() or ["no reason given"])[0]
        for trial in record.trials
        if trial.status is Status.FAILED
    )
    rows = [(reason, counted(n, "trial")) for reason, n in reasons.most_common(_REASONS_SHOWN)]
    return Group(*parts, Text(), trials(best, record.objective.metric), *_section("why trials failed", rows))


def trials(best: Sequence[Trial], metric: str) -> RenderableType:
    """A table of trials, best first: a column for each parameter, or one for all of them where that is too wide."""
    if not best:
        return Text("no trials to show")
    columns = names([trial.params for trial in best])
    facts = [_facts(rank, trial) for rank, trial in enumerate(best, start=1)]
    values = [[setting(t.params[name]) if name in t.params else ABSENT for name in columns] for t in best]
    lines = [settings(trial.params) for trial in best]
    head: tuple[str, ...] = ("rank", "trial", "status", metric, "epoch", "time")
    wide = facts
    if any(trial.loss_ratio is not None for trial in best):
        head = (*head, "val/train")
        wide = [(*fact, _loss_ratio(trial)) for fact, trial in zip(facts, best, strict=True)]
    return Fitting(
        _table((*head, *columns), [(*fact, *row) for fact, row in zip(wide, values, strict=True)]),
        _table((*head, "parameters"), [(*fact, line) for fact, line in zip(wide, lines, strict=True)]),
        _table(
            ("trial", metric, "parameters"),
            [(fact[1], fact[3], line) for fact, line in zip(facts, lines, strict=True)],
        ),
        Group(
            *(Text(f"{fact[1]}: {fact[3]} {line}", overflow="fold") for fact, line in zip(facts, lines, strict=True))
        ),
    )


def studies(records: Sequence[StudyRecord]) -> RenderableType:
    """What ``list`` prints."""
    if not records:
        return Text("no studies in this store yet: kerasweep run FILE makes one")
    rows = []
    for record in records:
        best, ended_as = record.summary.get("best"), record.summary.get("trials")
        value = number(best.get("value")) if isinstance(best, Mapping) else ABSENT
        n = str(sum(ended_as.values())) if isinstance(ended_as, Mapping) else ABSENT
        rows.append((record.id, record.status, _moment(record.started), n, value, _goal(record.objective)))
    return Fitting(
        _table(("study", "status", "started", "trials", "best", "objective"), rows),
        _table(("study", "status", "started", "trials", "best"), [row[:5] for row in rows]),
        _table(("study", "status", "best"), [(row[0], row[1], row[4]) for row in rows]),
    )


def plan(planned: Plan) -> RenderableType:
    """What ``plan`` prints."""
    parts = [line for title, rows in planned.sections for line in _section(title, rows)]
    for title, said in (("warnings", planned.warnings), ("advice", planned.advice)):
        if said:
            parts += [*_heading(title, "bold yellow"), *(Text(f"  {each}") for each in said)]
    return Group(*parts[1:])


def importance(found: Mattering, top: int) -> RenderableType:
    """What ``importance`` prints.

    Args:
        found: of one study.
        top: how many parameters and pairs to show.
    """
    if found.explained is None:
        head = (
            f"{counted(found.trials, 'trial')} with a value, which are too few or too much alike to tell what mattered"
        )
    elif found.explained <= 0:
        head = (
            f"the ranking of unseen trials cannot be predicted from {counted(found.trials, 'trial')}: take it as noise"
        )
    else:
        head = (
            f"{found.explained:.0%} of the ranking of unseen trials is predicted, from {counted(found.trials, 'trial')}"
        )
    rows = [
        (name, f"{share:.0%}", _spread(found.best.get(name, ()))) for name, share in list(found.shares.items())[:top]
    ]
    pairs = [(" and ".join(each.pair), f"{each.share:.1%}", settings(each.best)) for each in found.interactions[:top]]
    parts: list[RenderableType] = [Text.assemble((found.study, "bold"), f": {head}")]
    if rows:
        parts += [Text(), _table(("parameter", "share", "in the best fifth"), rows)]
    if pairs:
        parts += [Text(), _table(("together", "share", "best at"), pairs)]
    return Group(*parts, *_section("figures", ((path.stem, str(path)) for path in found.figures)))


def _spread(values: Sequence[ParamValue]) -> str:
    """The values of a parameter in the best trials: from where to where, or how often each."""
    if not values:
        return ABSENT
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        low, high = setting(min(values)), setting(max(values))
        return f"{low} to {high}" if low != high else low
    return ", ".join(f"{value} ({count})" for value, count in Counter(map(str, values)).most_common())


def narrowed(found: NextSpace, path: str) -> RenderableType:
    """What ``narrow`` prints.

    Args:
        found: the next space.
        path: of the file it was written to.
    """
    return Group(
        Text(
            f"narrowed around the best {found.best} of {counted(found.trials, 'trial')}: "
            f"{found.volume:.2g} of the space is left"
        ),
        *_section("parameters", ((each.name, each.why) for each in found.parameters)),
        *_section(
            "where the optimum may lie outside", ((each.name, each.hint) for each in found.parameters if each.hint)
        ),
        *_section("next", [("written", path), ("use it with", f"space: {path}")]),
    )


class Fitting:
    """The first of several versions of the same content that fits the terminal's width; the last if none does."""

    def __init__(self, *versions: RenderableType) -> None:
        self._versions = versions

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        unlimited = options.update(width=100_000)
        fitting = (v for v in self._versions if Measurement.get(console, unlimited, v).minimum <= options.max_width)
        yield next(fitting, self._versions[-1])


def _winner(best: Trial | None, metric: str) -> list[RenderableType]:
    if best is None:
        return [*_heading("winner"), Text("  none: no trial succeeded")]
    rows = [(name, setting(value)) for name, value in best.params.items()]
    parts = _section(f"winner: trial {best.number}, {metric} {number(best.value)} at epoch {number(best.epoch)}", rows)
    if best.overfits:
        parts.append(Text(f"  overfits: its validation loss is {number(best.loss_ratio)} times its training loss"))
    return parts


def _test_split(outcome: PipelineResult) -> list[RenderableType]:
    if not outcome.test:
        return []
    metrics = tuple(outcome.test)
    rows = [("this model", *(number(outcome.test[metric]) for metric in metrics))]
    rows += [(name, *(number(values.get(metric)) for metric in metrics)) for name, values in outcome.baselines.items()]
    spread = [(m, f"{number(a)} to {number(c)}, median {number(b)}") for m, (a, b, c) in outcome.spread.items()]
    return [*_heading("test split"), _indented(_table(("", *metrics), rows)), *_section("over the seeds", spread)]


def _registered(model: Registered) -> list[tuple[str, str]]:
    rows = [(model.uri, f"version {model.version}")]
    if not model.moved:
        rows.append((f"@{model.alias}", f"did not move: {model.reason or 'no reason given'}"))
    return rows


def _facts(rank: int, trial: Trial) -> tuple[str, ...]:
    measured = (number(trial.value), number(trial.epoch), duration(trial.seconds))
    return (str(rank), str(trial.number), trial.status.value, *measured)


def _loss_ratio(trial: Trial) -> str:
    """``1.04``, or ``1.52 overfits``."""
    if trial.loss_ratio is None:
        return ABSENT
    return f"{trial.loss_ratio:.2f}{' overfits' if trial.overfits else ''}"


def _heading(title: str, style: str = "bold") -> list[RenderableType]:
    return [Text(), Text(title, style=style)]


def _indented(content: RenderableType) -> RenderableType:
    return Padding(content, (0, 0, 0, 2), expand=False)


def _section(title: str, rows: Iterable[tuple[str, str]]) -> list[RenderableType]:
    """A heading and indented rows of label and value; nothing at all without rows."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, overflow="fold")
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(Text(label), Text(value))
    return [*_heading(title), _indented(grid)] if grid.row_count else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without lines; numbers stand to the right, and only the columns in ``_FOLDING`` are ever broken."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name, *cells in zip(head, *rows, strict=True):
        width = max(cell_len(cell) for cell in (name, *cells))
        folds = name in _FOLDING and width > _FOLDED_WIDTH
        table.add_column(
            name,
            justify="right" if all(cell[:1] in "-0123456789" for cell in cells) else "left",
            no_wrap=not folds,
            overflow="fold",
            min_width=_FOLDED_WIDTH if folds else width,
        )
    for row in rows:
        cells = [_status(cell) if name == "status" else Text(cell) for name, cell in zip(head, row, strict=True)]
        table.add_row(*cells)
    return table


def _status(status: str) -> Text:
    return Text(status, style=_STYLES.get(status, ""))


def _counts(counts: Mapping[str, int]) -> str:
    total = sum(counts.get(kind, 0) for kind in ("finished", "stopped", "failed"))
    return f"{counted(total, 'trial')} ({ended(counts)})" if total else "no trials ended"


def _goal(objective: Objective) -> str:
    return f"{objective.direction.value} {objective.metric}"


def _moment(seconds: float) -> str:
    """Local time to the minute."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
