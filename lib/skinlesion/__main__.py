"""The command line that the Makefile calls: ``python -m skinlesion <command> --help``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Literal

from skinlesion import parameters, processors


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a known fault ends it with one message and status 1."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m skinlesion", description=__doc__)
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="validate a study and its data; draw the sample if it needs one")
    check.set_defaults(run=_check)
    report = commands.add_parser("report", help="run one notebook and render it")
    report.add_argument("notebook", type=Path)
    report.add_argument("output", type=Path)
    report.set_defaults(run=_report)
    train = commands.add_parser("train", help="train without a notebook, on several devices under torchrun")
    train.set_defaults(run=_train)
    reproduce = commands.add_parser("reproduce", help="make a published run again and say how close it came")
    reproduce.set_defaults(run=_reproduce)
    for command in (check, report, train, reproduce):
        command.add_argument("--study", required=True, help="a study's name, or the path of its YAML file")
        command.add_argument("--seed", type=int, default=None)
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter that wins")
    campaign = commands.add_parser(
        "campaign", help="benchmark, check and train on a fast machine, so long as it is there"
    )
    campaign.add_argument("output", type=Path)
    campaign.add_argument("--minutes", type=float, default=9.0, help="then stop; call again to go on")
    campaign.add_argument("--studies", nargs="+", default=["paper", "paper_lesion"])
    campaign.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    campaign.add_argument("--sides", nargs="+", type=int, default=[224, 96], help="of the benchmark's images")
    campaign.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter that wins")
    campaign.set_defaults(run=_campaign)
    predict = commands.add_parser("predict", help="say what a trained network sees in JPEGs; research, not diagnosis")
    predict.add_argument("model", type=Path, help="model.safetensors of a run")
    predict.add_argument("images", type=Path, nargs="+", help="JPEGs, and folders of them")
    predict.add_argument("--output", type=Path, help="a CSV file, instead of the screen")
    predict.add_argument("--isic", action="store_true", help="in the format of the ISIC challenge")
    predict.set_defaults(run=_predict)
    index = commands.add_parser("index", help="write the index of all reports")
    index.add_argument("folder", type=Path)
    index.set_defaults(run=_index)
    data = commands.add_parser("data", help="download a data set")
    data.set_defaults(run=_data)
    verify = commands.add_parser("check-data", help="say whether a folder holds the published data")
    verify.set_defaults(run=_check_data)
    for command in (data, verify):
        command.add_argument("--dataset", default="ham10000", choices=["ham10000", "isic2018_test"])
        command.add_argument("folder", type=Path)
    bench = commands.add_parser("bench", help="measure training and prediction beside plain loops")
    bench.add_argument("--data", type=Path, help="a folder with HAM10000, for the paper study on a GPU")
    bench.add_argument("--weights", default="none", help="starting weights of the paper study")
    bench.set_defaults(run=_bench)
    readme = commands.add_parser("readme", help="put the results of the runs on real data into README.md")
    readme.set_defaults(run=_readme)
    card = commands.add_parser("card", help="write the model card of a run")
    card.add_argument("run_folder", type=Path)
    card.set_defaults(run=_card)
    audit = commands.add_parser("verify", help="compute the published scores and tables again, and compare")
    audit.add_argument("--data", type=Path, help="folder with HAM10000_metadata, for the subgroups")
    audit.set_defaults(run=_verify)
    return parser


def _load(options: argparse.Namespace) -> parameters.Parameters:
    overrides = dict(parameters.parse_override(text) for text in options.set)
    if options.seed is not None:
        overrides["seed"] = options.seed
    return parameters.load(options.study, overrides)


def _share_cores(threads: int | Literal["auto"]) -> int:
    """Say with how many threads this process and those it starts compute: before the libraries are loaded that ask."""
    chosen = processors.choose(threads)
    os.environ["OMP_NUM_THREADS"] = str(chosen)
    return chosen


def _check(options: argparse.Namespace) -> None:
    chosen = _load(options)
    from skinlesion.data import dataset  # slow to import, and a wrong parameter should be told at once
    from skinlesion.learning import models

    data = dataset.open_dataset(chosen)
    print(f"{chosen.study}: {data.title}; {models.describe_weights(chosen.backbone, chosen.weights)}")


def _report(options: argparse.Namespace) -> None:
    chosen = _load(options)
    _share_cores(chosen.threads)
    from skinlesion.reporting import pages  # as above

    pages.make(options.notebook, chosen, options.output)


def _train(options: argparse.Namespace) -> None:
    chosen = _load(options)
    _share_cores(chosen.threads)
    from skinlesion import runs  # as above
    from skinlesion.learning import distributed, trainer

    distributed.start()
    try:
        run = runs.Run(chosen)
        trained = trainer.train(run, trainer.open_inputs(run))
        if distributed.rank() == 0:
            print(f"epoch {trained.selected_epoch} is selected; notebook 03 takes it up from the checkpoint")
    finally:
        distributed.stop()


def _campaign(options: argparse.Namespace) -> None:
    from skinlesion.bench import campaign  # as above

    overrides = dict(parameters.parse_override(text) for text in options.set)
    wanted = {"studies": options.studies, "seeds": options.seeds, "sides": options.sides}
    if campaign.go(options.minutes, campaign.steps(options.output, overrides=overrides, **wanted)):
        print(f"everything is done and lies in {options.output}")


def _predict(options: argparse.Namespace) -> None:
    threads = _share_cores("auto")
    from skinlesion import files  # as above
    from skinlesion.learning import inference
    from skinlesion.scoring import isic

    model, facts = inference.load(options.model)
    processors.keep_memory()
    found = inference.find(options.images)
    read = 0
    with files.atomic(options.output) if options.output else contextlib.nullcontext(sys.stdout) as output:
        for table, unreadable in inference.predict(model, facts, found, threads=threads):
            for path, reason in unreadable.items():
                print(f"skipped: {path}: {reason}", file=sys.stderr)
            if table.empty:
                continue
            table = isic.submission(table) if options.isic else table
            if options.output:
                table.to_csv(output, mode="a", header=not read, **files.CSV)
            else:
                print(table.round(3).to_string(index=False, header=not read), flush=True)
            read += len(table)
        if not read:
            raise inference.InferenceError("none of the images can be read")
    if options.output:
        print(f"{read} images in {options.output}, {len(found) - read} skipped")


def _index(options: argparse.Namespace) -> None:
    from skinlesion.paper import index  # as above

    index.write(options.folder)


def _data(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.data import download

    folder = files.resolve(options.folder)
    download.fetch(options.dataset, folder)
    print(f"{options.dataset} is in {folder}; `make check-data` looks at it closely")


def _check_data(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.data import published

    folder = files.resolve(options.folder)
    done = published.verify(folder, cache=files.ROOT / "data" / "store", name=options.dataset)
    print(done.table.to_string(index=False, justify="left", max_colwidth=72))
    print(f"\nverdict: {done.verdict}")
    if done.verdict == published.VERDICTS[published.WRONG]:
        raise ValueError(f"{folder} does not hold {options.dataset} as published: see the lines marked WRONG")


def _bench(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.bench import benchmarks

    benchmarks.measure(files.ROOT / "reports" / "benchmarks", data=options.data, weights=options.weights)


def _readme(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.reporting import tables

    tables.write_blocks(files.ROOT / "README.md", files.ROOT / "reports")


def _card(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.paper import card

    print(files.shown(card.write(files.resolve(options.run_folder))))


def _verify(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.data import dataset
    from skinlesion.paper import verification

    folder = options.data or files.resolve("data/ham10000")
    metadata = dataset.read_metadata(dataset.find_table(folder)) if options.data or folder.is_dir() else None
    failed = done = 0
    for check in verification.verify(files.ROOT / "reports", readme=files.ROOT / "README.md", metadata=metadata):
        print(check, flush=True)
        done += 1
        failed += bool(check.faults)
    if failed:
        raise ValueError(f"{failed} of {done} checks failed: what is published is not what was computed")
    print(f"All {done} checks passed: scores and tables are what the predictions say, other files the published ones.")


def _reproduce(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.paper import reproduction

    chosen = _load(options)
    _share_cores(chosen.threads)
    found = reproduction.reproduce(chosen)
    print(found.scores.round(4).to_string())
    for line in found.differs or ["nothing that is recorded"]:
        print(f"differs: {line}")
    where = files.shown(files.resolve(reproduction.FOLDER) / chosen.study)
    print(f"\n{chosen.study}, seed {chosen.seed}, made again in {where}: {found.verdict}")
    if found.verdict == reproduction.DIFFERENT:
        raise ValueError("the published run was not reproduced")


if __name__ == "__main__":
    sys.exit(main())
