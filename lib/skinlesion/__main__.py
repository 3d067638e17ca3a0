"""The command line that the Makefile calls: ``python -m skinlesion <command> --help``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from skinlesion.errors import StudyError

if TYPE_CHECKING:
    from skinlesion.checks import Check

INSTALL = "install requirements.lock into this Python, or let `make` do it into .venv (without PYTHON=)"


def _lacking(error: ImportError) -> str:
    """Say what to do about a package that is not there, or that is another project's; raise what is our own fault."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    others = [path for path in others if Path(path).resolve() != Path(__file__).resolve().parents[1]]
    if not others and not isinstance(error, ModuleNotFoundError):
        raise error
    shadow = f"PYTHONPATH puts the packages of {', '.join(others)} before those of this Python: unset it"
    said, _, _ = str(error).partition("\n")
    return f"error: {said.rstrip(':')}: {shadow if others else INSTALL}"


try:
    from skinlesion import parameters, processors
except ImportError as error:
    sys.exit(_lacking(error))

SOME_SKIPPED = 3
"""Status of ``predict`` where it could not read every file."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its status; a known fault ends it with one message and status 1."""
    options = _parser().parse_args(arguments)
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars redraw themselves, which a file cannot
    if told := processors.told_by_openmp():
        os.environ["OMP_NUM_THREADS"] = str(told)
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who reads, as `head` does, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still held back
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses it twice gets one sentence all the same
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    except ImportError as error:
        print(_lacking(error), file=sys.stderr)
        return 1
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


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
    inputs = commands.add_parser("inputs", help="note what a study is made from; the file changes only where that does")
    inputs.add_argument("output", type=Path)
    inputs.set_defaults(run=_inputs)
    publish = commands.add_parser("publish", help="put a finished run among the published ones")
    publish.add_argument(
        "--with", action="append", default=[], dest="more", metavar="WHAT", help="pages, or a file to add"
    )
    publish.set_defaults(run=_publish)
    plan = commands.add_parser("plan", help="say which planned runs are there, and how long the others will take")
    plan.add_argument("--missing", action="store_true", help="only the targets that make them")
    plan.add_argument("--ablation", metavar="STUDY", help="instead: one run a seed with each component exchanged")
    plan.add_argument("--pairs", nargs="*", default=[], help="components to exchange together: flip_and_hue")
    plan.add_argument("--seeds", type=int, default=1)
    plan.set_defaults(run=_plan)
    official = commands.add_parser("official", help="score a run's network on the official ISIC 2018 test, once")
    official.add_argument("folder", type=Path, help="where the test set lies")
    official.set_defaults(run=_official)
    export = commands.add_parser("export", help="write a run's network as ONNX as well, in float32 and int8")
    export.set_defaults(run=_export)
    for command in (check, report, train, reproduce, inputs, publish, official, export):
        command.add_argument("--study", required=True, help="a study's name, or the path of its YAML file")
        command.add_argument("--seed", type=int, default=None)
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter that wins")
    predict = commands.add_parser(
        "predict",
        help="say what a trained network sees in pictures; research only, not for diagnosis",
        description="Reads JPEG, PNG, WEBP, TIFF, BMP and AVIF of any shape, colours by their profile; hidden files in "
        "folders are passed over.",
        epilog=f"Status: 0, all files were read; {SOME_SKIPPED}, some were skipped, each named on stderr with the "
        "reason; 1, an error, or none could be read.",
    )
    predict.add_argument("model", type=Path, help="model.safetensors of a run")
    predict.add_argument("images", type=Path, nargs="+", help="pictures, and folders of them")
    predict.add_argument("--output", type=Path, help="a CSV file; without it, the screen, or CSV where stdout is none")
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
    bench = commands.add_parser("bench", help="measure training with plain loops and with the engine")
    bench.set_defaults(run=_bench)
    costs = commands.add_parser("costs", help="measure what networks cost: size, operations, memory and speed")
    costs.add_argument("--side", type=int, default=96, help="of the images, in pixels")
    costs.set_defaults(run=_costs)
    paper = commands.add_parser("paper", help="put what the tables say into README.md and the index")
    paper.set_defaults(run=_paper)
    card = commands.add_parser("card", help="write the model card of a run")
    card.add_argument("run_folder", type=Path)
    card.set_defaults(run=_card)
    audit = commands.add_parser("verify", help="compute the published scores and tables again, and compare")
    audit.add_argument("--data", type=Path, help="folder with HAM10000_metadata, for the subgroups")
    audit.add_argument("--details", action="store_true", help="a line for each check")
    audit.set_defaults(run=_verify)
    split = commands.add_parser(
        "audit-split",
        help="say what a split of HAM10000 leaks, whoever drew it",
        epilog="Ends with 0 where nothing leaks, 1 where something does, 2 where a table cannot be read.",
    )
    split.add_argument("table", type=Path, nargs="?", help="a CSV with image_id and part, and predictions if you like")
    for part in ("train", "validation", "test"):
        split.add_argument(f"--{part}", type=Path, metavar="CSV", help=f"instead: the {part} images alone")
    split.add_argument("--data", type=Path, default="data/ham10000", help="a folder with HAM10000_metadata")
    split.add_argument("--pairs", type=Path, metavar="CSV", help="images of one lesion, instead of a search for them")
    split.add_argument("--json", action="store_true", help="for a program to read")
    split.set_defaults(run=_audit_split)
    return parser


def _load(options: argparse.Namespace) -> parameters.Parameters:
    overrides = dict(parameters.parse_override(text) for text in options.set)
    if options.seed is not None:
        overrides["seed"] = options.seed
    return parameters.load(options.study, overrides)


def _inputs(options: argparse.Namespace) -> None:
    from skinlesion import files, plan  # slow to import, and a wrong parameter should be told at once

    chosen = _load(options)
    content = files.as_json(plan.inputs(chosen))
    if not options.output.is_file() or options.output.read_text(encoding="utf-8") != content:
        files.write_text(options.output, content)


def _publish(options: argparse.Namespace) -> None:
    from skinlesion import files, runs  # as above

    if runs.source()["clean"] is False:
        raise runs.RunError("code or parameters have changes that are not committed: commit them first")
    for path in runs.publish(runs.Run(_load(options)), more=options.more):
        print(files.shown(path))


def _plan(options: argparse.Namespace) -> None:
    from skinlesion import plan, studies  # as above
    from skinlesion.files import resolve

    planned, found = studies.everything(), plan.here(resolve(parameters.Runtime().output))
    if options.ablation:
        arms = parameters.ablation(options.ablation, pairs=options.pairs)
        wanted = {options.ablation: planned[options.ablation], **arms}
        planned = {name: dataclasses.replace(study, seeds=options.seeds) for name, study in wanted.items()}
    left = plan.missing(planned, found)
    if options.missing:
        print("\n".join(f"run/{study}/{seed}" for study, seed in left))
        return
    table = plan.table(planned, found)
    print(table.to_string(index=False, justify="left", max_colwidth=72))
    print(f"\n{len(left)} of {len(left) + sum(key[0] in planned for key in found)} runs are missing: make runs")


def _check(options: argparse.Namespace) -> None:
    chosen = _load(options)
    from skinlesion.data import dataset  # slow to import, and a wrong parameter should be told at once
    from skinlesion.learning import models

    title = dataset.open_dataset(chosen).title
    models.build(chosen.backbone, weights=chosen.weights, classes=len(dataset.DX), seed=chosen.seed)
    print(f"{chosen.study}: {title}; {models.describe_weights(chosen.backbone, chosen.weights)}")


def _report(options: argparse.Namespace) -> None:
    chosen = _load(options)
    processors.share(chosen.threads)
    from skinlesion.reporting import pages  # as above

    pages.make(options.notebook, chosen, options.output)


def _train(options: argparse.Namespace) -> None:
    chosen = _load(options)
    processors.share(chosen.threads)
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


def _predict(options: argparse.Namespace) -> int:
    threads = processors.share("auto")
    from skinlesion import files  # as above
    from skinlesion.learning import inference
    from skinlesion.scoring import isic

    model: inference.Scorer
    if options.model.suffix == ".onnx":
        from skinlesion.learning import portable  # slow to import

        model, facts = portable.load(options.model)
    else:
        model, facts = inference.load(options.model)
    processors.keep_memory()
    found, skipped = inference.find(options.images)
    if options.output:
        found = _spare(options.output, options.model, found)
    if options.isic:
        isic.check_names(found)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that it cannot show must not cost the others
    print(*inference.caveats(facts), sep="\n", file=sys.stderr)
    read = trained_on = 0
    with files.atomic(options.output) if options.output else contextlib.nullcontext(sys.stdout) as output:
        _name(skipped)
        for table, unreadable in inference.predict(model, facts, found, threads=threads):
            _name(unreadable)
            skipped |= unreadable
            if table.empty:
                continue
            trained_on += (table.trained_on == "yes").sum()
            table = table.assign(path=table.path.map(files.cell), image=table.image.map(files.cell))
            table = isic.submission(table) if options.isic else table
            if options.output or not sys.stdout.isatty():
                table.to_csv(output, mode="a", header=not read, **files.CSV)
            else:
                print(table.round(3).to_string(index=False, header=not read), flush=True)
            read += len(table)
        if not read:
            raise inference.InferenceError("none of the images can be read")
    if trained_on:
        told = f"{trained_on} of {read} look like images it was trained on"
        print(f"{told}: what it says of these does not show how good it is", file=sys.stderr)
    if options.output:
        print(f"{read} images in {options.output}, {len(skipped)} skipped")
    return SOME_SKIPPED if skipped else 0


def _name(skipped: dict[Path, str]) -> None:
    from tqdm import tqdm  # slow to import

    for path, reason in skipped.items():
        tqdm.write(f"skipped: {path}: {reason}", file=sys.stderr)  # above a bar, not in it


def _spare(output: Path, model: Path, found: list[Path]) -> list[Path]:
    """Return the files to read without the table of an earlier call, or refuse to write over anything else of them."""
    same = [path for path in (model, *found) if output.exists() and path.samefile(output)]
    if not same:
        return found
    with output.open("rb") as file:
        if not file.read(32).startswith((b"path,image,predicted,", b"image,MEL,")):
            raise StudyError(f"--output {output} is one of the files to read: give another name")
    return [path for path in found if path not in same]


def _index(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.paper import index

    index.write(files.resolve(options.folder))


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
        raise StudyError(f"{folder} does not hold {options.dataset} as published: see the lines marked WRONG")


def _bench(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.bench import benchmarks

    benchmarks.speed(files.ROOT / "reports" / "benchmarks")


def _costs(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.bench import benchmarks

    benchmarks.costs(files.ROOT / "reports" / "benchmarks", side=options.side)


def _paper(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.paper import crate, evidence, findings, index, readme

    folder = files.ROOT / "reports"
    findings.check(findings.read(folder))
    readme.write(files.ROOT / "README.md", folder)
    index.write(folder)
    crate.write(folder)
    evidence.write_sums(folder)


def _official(options: argparse.Namespace) -> None:
    from skinlesion import files, runs  # as above
    from skinlesion.learning import official
    from skinlesion.reporting import tables

    found = official.take(runs.Run(_load(options)), files.resolve(options.folder))
    print(f"{found['images']:,} images, counted once")
    print(tables.with_interval(found["headline"]).to_string())


def _export(options: argparse.Namespace) -> None:
    from skinlesion import files, runs  # as above
    from skinlesion.learning import portable, trainer

    run = runs.Run(_load(options))
    inputs = trainer.open_inputs(run)
    for path in portable.write(run, inputs):
        print(files.shown(path))
    print(portable.compare(run, inputs).round(4).to_string(index=False))


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
    checks = verification.verify(files.ROOT / "reports", readme=files.ROOT / "README.md", metadata=metadata)
    failed = done = 0
    for check in itertools.chain(checks, _rescored(folder) if metadata is not None else ()):
        if options.details or check.faults:
            print(check, flush=True)
        done += 1
        failed += bool(check.faults)
    if failed:
        way = "`git checkout -- reports README.md` (or a fresh copy) brings it back"
        raise StudyError(f"{failed} of {done} checks failed: what is published is not what was computed; {way}")
    print(f"All {done} checks passed (make verify DETAILS=yes lists them): published files are what they were, scores")
    print("and tables are what the predictions say, and so are the sentences of README.md.")
    if metadata is None:
        print("Not checked against images: `make verify DATA=<folder>` has the released network score them again.")


def _rescored(folder: Path) -> Iterator[Check]:
    """Compare what the released networks say of the images in a folder, where there are any."""
    from skinlesion import runs  # as above
    from skinlesion.checks import Check
    from skinlesion.data import dataset
    from skinlesion.learning import rescoring

    released = [run for run in runs.find(runs.PUBLISHED).values() if run.find(rescoring.NETWORK)]
    try:
        data = dataset.open_dataset(parameters.load("paper_lesion", {"data": str(folder)}))
        for run in released:
            print(f"{run.name}: the network scores the test images again, about a minute on one core", file=sys.stderr)
            yield Check(f"{run.name} and the images", *rescoring.faults(run, data))
    except (dataset.DatasetError, rescoring.RescoringError) as error:
        print(f"Not checked against images: {error}")


def _audit_split(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.paper import audit

    parts = {part: getattr(options, part) for part in ("train", "validation", "test")}
    try:
        split = audit.open_split(options.table, **parts)
        folder = files.resolve(options.data)
        lesions = audit.open_lesions(folder)
        pairs = audit.open_pairs(lesions, folder, cache=files.ROOT / "data" / "store", given=options.pairs)
        found = audit.audit(split, lesions, pairs)
    except (StudyError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False) if options.json else found)
    if found.leaks:
        sys.exit(1)


def _reproduce(options: argparse.Namespace) -> None:
    from skinlesion import files  # as above
    from skinlesion.paper import reproduction

    chosen = _load(options)
    processors.share(chosen.threads)
    found = reproduction.reproduce(chosen)
    print(found.scores.round(4).to_string())
    for line in found.differs or ["nothing that is recorded"]:
        print(f"differs: {line}")
    where = files.shown(files.resolve(reproduction.FOLDER) / chosen.study)
    print(f"\n{chosen.study}, seed {chosen.seed}, made again in {where}: {found.verdict}")
    if found.verdict == reproduction.DIFFERENT:
        raise StudyError("the published run was not reproduced")


if __name__ == "__main__":
    sys.exit(main())
