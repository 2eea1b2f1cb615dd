"""Tiny random classifiers of many architectures, made in a second, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

LABELS = ("positive", "negative", "neutral")
LONGEST = 64

WORDS = (
    "the a film food service was is not very good bad great awful slow fast friendly rude cheap dear "
    "I we they liked loved hated found bought sent back again never always and but because when "
    "delivery kettle boots sofa order refund card price waiter kitchen story actor ending"
).split()

TEXTS = (
    "good film",
    "The service was slow, but the food was great!",
    "I never found the kettle and they sent the boots back again because the price was bad",
    "awful",
    "¿Dónde está mi pedido? 我的订单在哪里 🥾",
    "we loved the story and the ending " * 12,
)

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": LONGEST,
}
_ROBERTA = {**_SIZES, "max_position_embeddings": LONGEST + 2, "type_vocab_size": 1}

# architecture → (its configuration, its tokenizer's kind, whether it is told which text is the pair)
ARCHITECTURES: dict[str, tuple[dict[str, Any], str, bool]] = {
    "bert": (_SIZES, "wordpiece", True),
    "distilbert": (
        {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": LONGEST,
        },
        "wordpiece",
        False,
    ),
    "roberta": (_ROBERTA, "bpe", False),
    "xlm-roberta": (_ROBERTA, "unigram", False),
    "electra": ({**_SIZES, "embedding_size": 16}, "wordpiece", True),
    "albert": ({**_SIZES, "embedding_size": 16}, "unigram", True),
    "mpnet": ({**_SIZES, "max_position_embeddings": LONGEST + 2}, "bpe", False),
    "deberta-v2": (
        {
            **_SIZES,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
        "unigram",
        True,
    ),
    "modernbert": (
        {**_SIZES, "global_attn_every_n_layers": 2, "local_attention": 16},
        "bpe",
        False,
    ),
}

# others, served as the pipeline does: no token types though they are taken, sparse attention that the
# first short text ends, positions without a limit, an answer at the end token
_SHORT_NAMES = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
_HALVES = ("encoder", "decoder")
OTHERS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "gpt2": (
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": LONGEST},
        "bpe",
        False,
    ),
    "big_bird": (
        {**_SIZES, "max_position_embeddings": 256, "block_size": 8, "num_random_blocks": 1},
        "wordpiece",
        True,
    ),
    "xlnet": (_SHORT_NAMES, "wordpiece", False),
    "bart": (
        {
            "d_model": 32,
            **{f"{half}_layers": 2 for half in _HALVES},
            **{f"{half}_attention_heads": 4 for half in _HALVES},
            **{f"{half}_ffn_dim": 48 for half in _HALVES},
            "max_position_embeddings": LONGEST,
        },
        "bpe",
        False,
    ),
}

_BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # padding is token 1
_LIKE_ROBERTA = ("roberta", "xlm-roberta", "mpnet")


def make_model(
    folder: Path,
    architecture: str = "bert",
    labels: tuple[str, ...] = LABELS,
    seed: int = 0,
    **config: Any,
) -> Path:
    """Write a random classifier and its tokenizer into `folder`, and return it.

    Its weights are larger than a fresh model's, so that texts get clearly different probabilities.
    """
    sizes, kind, pairs = {**ARCHITECTURES, **OTHERS}[architecture]
    tokenizer = make_tokenizer(kind, pairs, like_roberta=architecture in _LIKE_ROBERTA)
    if architecture in OTHERS:
        tokenizer.model_max_length = sizes.get("max_position_embeddings", LONGEST)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(
            architecture,
            **{**sizes, **config},
            vocab_size=len(tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            cls_token_id=tokenizer.cls_token_id,
            sep_token_id=tokenizer.sep_token_id,
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(
    kind: str, pairs: bool, *, like_roberta: bool = False
) -> PreTrainedTokenizerFast:
    """A fast tokenizer of one of the three kinds that BERT's family uses, which knows a few words.

    It is the same each time; WordPiece's and Unigram's trainers take ties by chance.
    """
    special = list(_ROBERTA_TOKENS if like_roberta else _BERT_TOKENS)
    unk, pad, cls, sep = (special[i] for i in ((3, 1, 0, 2) if like_roberta else (1, 0, 2, 3)))
    corpus = [" ".join(WORDS), *TEXTS]
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=unk))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        words, letters = _words(tokenizer, corpus)
        pieces = [*special, *letters, *(f"##{letter}" for letter in letters), *words]
        vocab = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
        tokenizer.model = models.WordPiece(vocab, unk_token=unk)
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        words, letters = _words(tokenizer, corpus)
        scores = {
            **dict.fromkeys(special, 0.0),
            **dict.fromkeys(words[::2], -7.0),
            **dict.fromkeys(letters, -4.0),
        }
        tokenizer.model = models.Unigram([*scores.items()], special.index(unk))
    else:
        tokenizer = Tokenizer(models.BPE(unk_token=unk))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(  # it takes ties in the order of the bytes
            vocab_size=400,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1" if pairs else f"{cls} $A {sep} $B {sep}",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (cls, sep)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=LONGEST,
        model_input_names=["input_ids", "attention_mask"] + ["token_type_ids"] * pairs,
        pad_token=pad,
        unk_token=unk,
        cls_token=cls,
        sep_token=sep,
        mask_token=special[4],
    )


def _words(tokenizer: Tokenizer, corpus: list[str]) -> tuple[list[str], list[str]]:
    """What its own normalizer and pre-tokenizer make of the texts, and the letters of that."""
    normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
    words = {
        word
        for text in corpus
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalize(text))
    }
    return sorted(words), sorted(set("".join(words)))
