"""What `evaluate.py` opens: its output folder, the models that its flags name, and the real clips to score against."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import torch

import generation_arguments
from checkpoints import FLOW, PREDICTOR, STUDENT, fingerprint, load_autoencoder, load_pose_to_text
from evaluation.back_translation import BackTranslator
from evaluation.clips import Reference, read_references
from evaluation.predictions import name_key, require_only_clips
from evaluation.report import BACK_TRANSLATION, SYNC_CLASSIFIER, read_clips
from evaluation.sync_classifier import SyncJudge, kept_classifier
from generation import Generator, load_generator
from models.autoencoder import PoseAutoencoder
from models.speed import Speed, pack_linears
from models.text_encoder import TextEncoder
from poses.pack import Pack
from poses.splits import are_of_other_clips, load_split, load_statistics
from poses.statistics import Statistics
from poses.texts import list_signers, says_something, signers_path, some_of
from poses.writing import CLIP_FORMATS
from runtime.errors import UserError
from runtime.files import require_writable


@dataclass(frozen=True)
class Models:
    """The models that the flags name, None for the others; fingerprints, settings and warnings go into the report."""

    generator: Generator | None
    autoencoder: PoseAutoencoder | None
    statistics: Statistics  # the autoencoder's, or else those of the data set
    translator: BackTranslator | None
    judge: SyncJudge | None
    fingerprints: dict[str, str]  # of the checkpoints by kind
    settings: dict[str, object]
    warnings: list[str]  # that models learnt from other clips


def predictions_folder(args: argparse.Namespace) -> Path:
    """The folder for the clips of --save_predictions. Raises UserError if these clips, or the report, would replace or
    contradict what is there."""
    require_writable(args.output_dir)
    saved = args.output_dir / f"predictions_{args.split}"
    scores_saved = args.predictions_dir is not None and os.path.realpath(saved) == os.path.realpath(
        args.predictions_dir
    )
    if args.save_predictions and scores_saved:
        raise UserError(f"--save_predictions would overwrite {args.predictions_dir}; choose another --output_dir")
    if args.save_predictions:
        require_only_clips(saved)
    if not args.save_predictions and saved.is_dir() and not scores_saved:
        raise UserError(
            f"{saved}: holds the clips of an earlier evaluation, which would stand beside the figures of this one; add "
            "--save_predictions, remove that folder, or choose another --output_dir"
        )
    return saved


def load_models(args: argparse.Namespace, train: Pack, device: torch.device) -> Models:
    """Open what the flags name. train: the data set's train clips; raises UserError if the data set's statistics are
    needed and were made from other clips."""
    generator, autoencoder, translator, judge = open_generator(args, device), None, None, None
    settings: dict[str, object] = {"predictions_dir": args.predictions_dir, "seed": args.seed}
    if generator is not None:
        autoencoder, statistics, fingerprints = generator.autoencoder, generator.statistics, {**generator.fingerprints}
        settings = {**generator.settings, "seed": args.seed, "batch_size": args.batch_size}
        if generator.model.signers:
            named = signers_path(args.data_dir, args.split).is_file()
            settings["signers"] = "those of the references" if named else "drawn by the seed"
    elif args.autoencoder_checkpoint is not None:
        autoencoder, statistics, content = load_autoencoder(args.autoencoder_checkpoint, device)
        fingerprints = {"autoencoder": content["fingerprint"]}
    else:
        print("no --autoencoder_checkpoint, so there is no row 'reconstruction' and no metric 'frechet'")
        statistics, fingerprints = load_statistics(args.data_dir, args.cache_dir, train), {}
    if autoencoder is not None and device.type == "cpu":
        pack_linears(autoencoder)
    if args.back_translation_checkpoint is not None:
        model, learnt_from, content = load_pose_to_text(args.back_translation_checkpoint, device)
        translator = BackTranslator(model, learnt_from, args.num_beams)
        fingerprints[BACK_TRANSLATION] = content["fingerprint"]
        settings["num_beams"] = args.num_beams
    if args.sync_confidence:
        data = statistics if autoencoder is None else load_statistics(args.data_dir, args.cache_dir, train)
        classifier = kept_classifier(train, data, args.cache_dir or args.data_dir / "cache")
        judge = SyncJudge(classifier, data.std)
        fingerprints[SYNC_CLASSIFIER] = fingerprint(classifier.state_dict())
    learnt = {args.autoencoder_checkpoint: statistics} if autoencoder is not None else {}
    if translator is not None:
        learnt[args.back_translation_checkpoint] = translator.statistics
    others = [path for path, kept in learnt.items() if are_of_other_clips(kept, args.data_dir, args.cache_dir, train)]
    known = (train.info.get("content"), statistics.info.get("train"))  # the autoencoder's are judged above
    if generator is not None and any(clips not in known for clips in generator.train_clips):
        others.append(args.flow_checkpoint or args.predictor_checkpoint)
    warnings = [
        f"{path} learnt from other clips than {args.data_dir}/train, or from these prepared otherwise, so clips of "
        f"{args.split} may be among them: figures of a split that a model has learnt from say little"
        for path in others
    ]
    return Models(generator, autoencoder, statistics, translator, judge, fingerprints, settings, warnings)


def open_generator(args: argparse.Namespace, device: torch.device) -> Generator | None:
    """The model of --predictor_checkpoint or --flow_checkpoint, ready to sign; None without either flag."""
    checkpoint, kinds = args.flow_checkpoint, (FLOW, STUDENT)
    if args.predictor_checkpoint is not None:
        checkpoint, kinds = args.predictor_checkpoint, (PREDICTOR,)
    if checkpoint is None:
        return None
    return load_generator(
        checkpoint,
        args.autoencoder_checkpoint,
        device,
        generation_arguments.sampling_settings(args),
        Speed(args.precision, args.compiled),
        text_encoder=args.text_encoder,
        kinds=kinds,
    )


def read_scored(args: argparse.Namespace, models: Models) -> tuple[list[Reference], float | None, int]:
    """The clips to score against, their frames per second, and how many clips of the split are left out.

    If a model signs them, only those whose text it can read are scored.
    """
    split = load_split(args.data_dir, args.split, args.cache_dir, args.skip_bad)
    fps = split.info.get("fps")
    models.statistics.require_rate(fps, args.data_dir)
    if models.translator is not None:
        models.translator.statistics.require_rate(fps, args.data_dir)
    references = read_references(split)
    if models.generator is None:
        scored = to_score(references, args.predictions_dir, args.split)
        return scored, fps, len(references) - len(scored)
    with_text = [reference for reference in references if says_something(reference.text)]
    if not with_text:
        raise UserError(f"{args.data_dir}/{args.split}.txt: every text is empty, so there is nothing to sign")
    if len(with_text) < len(references):
        left_out = len(references) - len(with_text)
        print(f"{left_out} of {len(references)} clips of {args.split} have no text to sign and are left out")
    with_text = whole_texts(with_text, models.generator.model.text_encoder, args.split)
    known = models.generator.model.signers
    named = list_signers(args.data_dir, args.split, [reference.id for reference in with_text]) if known else {}
    if unknown := sorted(set(named.values()) - set(known)):
        print(f"not in the model's train data: {some_of(unknown)}; their clips are signed as the mean of its signers")
    return with_text, fps, len(references) - len(with_text)


def to_score(references: list[Reference], folder: Path, split: str) -> list[Reference]:
    """The references that have a text or a clip in `folder`; prints how many others are left out, and how many clips
    there belong to none.

    A system that signs texts has nothing to sign for the others. If --save_predictions wrote `folder`, the references
    that its evaluation left out, such as those whose text is too long, are left out again, unless `folder` has their
    clip: the split may have changed since.
    """
    files = [path for path in folder.iterdir() if path.suffix != ".json"] if folder.is_dir() else []
    found, ids = {name_key(path.stem) for path in files}, {name_key(reference.id) for reference in references}
    if unasked := sorted(p.name for p in files if p.suffix in CLIP_FORMATS and name_key(p.stem) not in ids):
        print(f"{folder}: {len(unasked)} files, such as {unasked[0]!a}, are of no clip of {split} and do not count")
    beside = folder.parent / f"clips_{split}.npz"
    if folder.name == f"predictions_{split}" and beside.is_file():
        ids = set(read_clips(beside)[0])
        scored = [reference for reference in references if reference.id in ids or name_key(reference.id) in found]
        if scored and len(scored) < len(references):
            left_out = len(references) - len(scored)
            print(f"{left_out} clips of {split} are neither in {beside} nor in {folder}, and are left out")
            return scored
    scored = [r for r in references if says_something(r.text) or name_key(r.id) in found]
    if not scored or len(scored) == len(references):
        return references
    print(
        f"{len(references) - len(scored)} of {len(references)} clips of {split} have neither a text nor a clip in "
        f"{folder}, and are left out"
    )
    return scored


def whole_texts(references: list[Reference], encoder: TextEncoder, split: str) -> list[Reference]:
    """The clips whose texts are short enough for the model's text encoder; prints how many are not."""
    counts = encoder.count_tokens([reference.text for reference in references])
    whole = [reference for reference, count in zip(references, counts, strict=True) if count <= encoder.max_tokens]
    if not whole:
        raise UserError(f"every text of {split} has more than {encoder.max_tokens} tokens, so there is nothing to sign")
    if len(whole) < len(references):
        longest = references[counts.index(max(counts))]
        print(
            f"{len(references) - len(whole)} of {len(references)} clips of {split}, such as '{longest.id}', have a "
            f"text of more than {encoder.max_tokens} tokens, which the text encoder does not read to its end; they are "
            "left out"
        )
    return whole
