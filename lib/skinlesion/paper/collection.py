"""All tables of the paper, made from the files that runs left."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from skinlesion import parameters, runs, studies
from skinlesion.paper import best, checklist, claims, costs, effects, evidence, ladder, road
from skinlesion.paper import tables as paper
from skinlesion.paper.tables import PaperTable, over_seeds


def make(folder: Path, *, draws: int, only: Collection[Path] | None = None) -> dict[str, PaperTable]:
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
    """
    planned = studies.everything()
    here = [study for study, _ in runs.find(folder) if study not in planned]
    known = [*planned, *(study for study in dict.fromkeys(here) if parameters.ABLATED in study)]
    found = {study: evidence.find(folder, study, only=only) for study in known}
    steps = {study: found.pop(study) for study in ladder.studies_of(planned)}
    vaults = {study: found.pop(study) for study in _with_vault(known)}
    main = {study: found[study] for study in claims.STUDIES}
    measured = {(study, "test"): over_seeds(runs_of, "test", draws) for study, runs_of in found.items()}
    measured |= {(study, "validation"): over_seeds(runs_of, "validation", draws) for study, runs_of in main.items()}
    said = paper.between(found, measured)
    scores = claims.scores({study: runs_of for study, runs_of in found.items() if not runs_of.synthetic}, measured)
    changes = [effects.effects(found, planned, draws=draws, between=said, name=name) for name in effects.QUESTIONS]
    cost = costs.costs(folder, planned, scores=scores.numbers, networks=changes[-1].numbers)
    made = [
        claims.claims(main, measured, costs.verdicts(cost.numbers), between=said),
        claims.estimands(main, draws=draws, between=said),
        claims.selection(main),
        effects.leak(found, draws=draws, between=said),
        *changes,
        cost,
        ladder.ladder({**found, **steps}, planned, draws=draws),
        best.best(found, draws=draws),
        effects.sources(found, draws=draws),
        effects.spread(found, planned),
        claims.labels(found),
        scores,
        claims.per_class(main, draws=draws, between=said),
        claims.convergence(main),
        claims.assumptions(),
        checklist.checklist(),
        claims.runs({**found, **vaults, **steps}),
    ]
    return {table.name: table for table in made}


def make_road(folder: Path, *, draws: int, only: Collection[Path] | None = None) -> PaperTable:
    """Return the table of notebook 07; parameters as :func:`make`."""
    found = {study: evidence.find(folder, study, only=only) for study in _with_vault(studies.everything())}
    return road.road(found, draws=draws)


def _with_vault(names: Iterable[str]) -> list[str]:
    return [study for study in names if parameters.load(study).vault_fraction]
