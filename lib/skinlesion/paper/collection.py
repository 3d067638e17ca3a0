"""All tables of the paper, made from the files that runs left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from skinlesion import parameters, runs, studies
from skinlesion.paper import best, checklist, claims, costs, effects, evidence, ladder, road
from skinlesion.paper import tables as paper
from skinlesion.paper.tables import PaperTable, over_seeds


def make(
    folder: Path,
    *,
    draws: int,
    only: Collection[Path] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, PaperTable]:
    """Return every table of notebook 06, by name.

    Rows come from the runs that are there, and from those that are planned.

    Parameters
    ----------
    folder
        ``reports/``.
    draws
        Of the bootstrap.
    only
        Run folders to be considered; absent, all.
    report
        Is told how far it is: it takes minutes.
    """
    made = {}
    for table in _made(folder, draws=draws, only=only, report=report):
        made[table.name] = table
        report(f"{len(made)} tables: {table.name}")
    return made


def _made(
    folder: Path, *, draws: int, only: Collection[Path] | None, report: Callable[[str], None]
) -> Iterator[PaperTable]:
    planned = studies.everything()
    here = [study for study, _ in runs.find(folder) if study not in planned]
    known = [*planned, *(study for study in dict.fromkeys(here) if parameters.ABLATED in study)]
    found = {study: evidence.find(folder, study, only=only) for study in known}
    steps = {study: found.pop(study) for study in ladder.studies_of(planned)}
    vaults = {study: found.pop(study) for study in _with_vault(known)}
    main = {study: found[study] for study in claims.STUDIES}
    measured = {}
    for study, runs_of in found.items():
        measured[study, "test"] = over_seeds(runs_of, "test", draws)
        report(f"{len(measured)} of {len(found)} studies: {study}")
    measured |= {(study, "validation"): over_seeds(runs_of, "validation", draws) for study, runs_of in main.items()}
    said = paper.between(found, measured)
    yield (scores := claims.scores({name: each for name, each in found.items() if not each.synthetic}, measured))
    for name in effects.QUESTIONS:
        yield (changed := effects.effects(found, planned, draws=draws, between=said, name=name))
    yield (cost := costs.costs(folder, planned, scores=scores.numbers, networks=changed.numbers))
    yield claims.claims(main, measured, costs.verdicts(cost.numbers), between=said)
    yield claims.estimands(main, draws=draws, between=said)
    yield claims.selection(main)
    yield effects.leak(found, draws=draws, between=said)
    yield ladder.ladder({**found, **steps}, planned, draws=draws)
    yield best.best(found, draws=draws)
    yield effects.sources(found, draws=draws)
    yield effects.spread(found, planned)
    yield claims.labels(found)
    yield claims.per_class(main, draws=draws, between=said)
    yield claims.convergence(main)
    yield claims.assumptions()
    yield checklist.checklist()
    yield claims.runs({**found, **vaults, **steps})


def make_road(
    folder: Path,
    *,
    draws: int,
    only: Collection[Path] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> PaperTable:
    """Return the table of notebook 07; parameters as :func:`make`."""
    found = {study: evidence.find(folder, study, only=only) for study in _with_vault(studies.everything())}
    return road.road(found, draws=draws, report=report)


def _with_vault(names: Iterable[str]) -> list[str]:
    return [study for study in names if parameters.load(study).vault_fraction]
