"""Run folders from the authors' checkpoints, and back."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datasets import storage
from datasets.sources.released import read_captions_pickle
from datasets.vocabulary import Vocabulary
from dmgan.config import ConfigError, parse_config
from dmgan.model.build import Encoders
from dmgan.model.discriminator import Discriminator
from dmgan.released.names import (
    StateDictError,
    export,
    export_discriminator,
    load_generator,
    load_image_encoder,
    load_text_encoder,
)
from dmgan.runs.run import Run

__all__ = ["export_run", "import_run"]


def import_run(
    generator_file: str, text_file: str, image_file: str, captions_file: str, out: str, padding_mask: str = "aligned"
) -> Run:
    """Write a run folder `out` that `generate` and `evaluate` accept from the authors' files.

    Raises StateDictError, ConfigError, PickleError or StorageError, before anything is written.
    """
    if Run(out).has("run.yaml"):
        raise ConfigError(f"{out}: holds a run already; choose another --out")
    generator = _load(generator_file, load_generator)
    text, image = _load(text_file, load_text_encoder), _load(image_file, load_image_encoder)
    _, vocabulary = read_captions_pickle(captions_file)
    word_dims = {
        generator_file: generator.conditioning.fc.in_features,
        text_file: 2 * text.rnn.hidden_size,
        image_file: image.emb_cnn_code.out_features,
    }
    if len(set(word_dims.values())) > 1:
        listed = ", ".join(f"{Path(file).name} {dim}" for file, dim in word_dims.items())
        raise StateDictError(f"the networks are not of one model, their word features differ: {listed}")
    if len(vocabulary) != text.embed.num_embeddings:
        raise StateDictError(
            f"{captions_file}: has {len(vocabulary)} words, "
            f"the text encoder was trained with {text.embed.num_embeddings}"
        )
    model = generator.options.model_dump() | {"embedding_dim": text.embed.embedding_dim}
    config = parse_config({"model": model | {"padding_mask": padding_mask, "align_corners": image.trunk.align_corners}})
    run = Run(out)
    run.save_encoders(Encoders(text, image), vocabulary)
    run.save_generator(generator, config, step=0, steps=0)
    run.write_config(config)
    return run


def export_run(run_url: str, out: str) -> None:
    """Write netG.pth, text_encoder.pth, image_encoder.pth, captions.pickle and the run's netD0.pth … to `out`.

    Raises StateDictError where the authors have no such network.
    """
    run = Run(run_url)
    config = run.read_config()
    encoders = run.load_encoders(config)
    networks = {"netG": run.load_generator(), "text_encoder": encoders.text, "image_encoder": encoders.image}
    states = {name: export(network) for name, network in networks.items()}
    discriminators = run.load_discriminators(config)
    for i, discriminator in enumerate(discriminators.children() if discriminators is not None else ()):
        assert isinstance(discriminator, Discriminator)
        states[f"netD{i}"] = export_discriminator(discriminator)
    vocabulary = run.read_tokenizer(config)
    if not isinstance(vocabulary, Vocabulary):
        raise StateDictError(f"text.tokenizer={config.text.tokenizer}: the authors' captions.pickle holds words")
    for name, state in states.items():
        buffer = io.BytesIO()
        torch.save(state, buffer)
        storage.write_bytes(storage.join(out, f"{name}.pth"), buffer.getvalue())
    words = vocabulary.words
    numbered = [[], [], dict(enumerate(words)), {word: i for i, word in enumerate(words)}]
    storage.write_bytes(storage.join(out, "captions.pickle"), pickle.dumps(numbered, protocol=2))


def _load(file: str, load: Any) -> Any:
    try:
        state: dict[str, Tensor] = torch.load(
            io.BytesIO(storage.read_bytes(file)), map_location="cpu", weights_only=True
        )
        if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
            raise StateDictError("not a state dict of tensors")
        if bad := next((name for name, tensor in state.items() if not tensor.isfinite().all()), None):
            raise StateDictError(f"{bad} has values that are no numbers or infinite")
        return load(state)
    except StateDictError as error:
        raise StateDictError(f"{Path(file).name}: {error}") from None
    except storage.StorageError:
        raise
    except Exception as error:  # a damaged archive raises anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StateDictError(f"{Path(file).name}: not a file of tensors alone: {reason}") from None
