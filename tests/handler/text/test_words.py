import pytest

import tiny
from handler.text.tokenizer import Tokenizer
from handler.text.words import Piece, to_words
from handler.values import Text, Word


def found(kind: str, text: Text, max_length: int = tiny.LONGEST) -> list[Word]:
    """The words of a text; each piece counts 1."""
    tokenizer = Tokenizer(tiny.make_tokenizer(kind, pairs=True), max_length)
    encoding, pieces = tokenizer.pieces(text)
    (plain,) = tokenizer([text])
    assert plain == encoding
    made = list(to_words(pieces, [1.0] * len(pieces), text))
    special = sum(piece.of is None for piece in pieces)
    assert sum(word.attribution for word in made) == len(pieces) - special
    for word in made:
        own = text.text if word.of == "text" else text.text_pair
        assert own is not None
        assert own[word.start : word.end] == word.word
    return made


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_pieces_become_the_words_of_the_text(kind: str) -> None:
    text = "The  restaurants\twere unbelievably\nGREAT"
    made = found(kind, Text(text))
    assert [word.word for word in made] == text.split()
    assert max(word.attribution for word in made) > 1, "no word had several pieces"


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_words_of_every_script_are_cut_from_the_text(kind: str) -> None:
    made = found(kind, Text("Dónde está Straße 👩‍👩‍👧‍👦 🥾 good"))
    assert [word.word for word in made][:3] == ["Dónde", "está", "Straße"]
    assert [word.word for word in made][-2:] == ["🥾", "good"]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_scripts_without_spaces_are_not_one_long_word(kind: str) -> None:
    made = found(kind, Text("我的订单在哪里 good ขอบคุณมาก"))
    assert len(made) > 3
    assert "good" in [word.word for word in made]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_words_of_a_pair_say_which_text_they_are_of(kind: str) -> None:
    made = found(kind, Text("good film", "film good"))
    assert [(word.word, word.start, word.of) for word in made] == [
        ("good", 0, "text"),
        ("film", 5, "text"),
        ("film", 0, "text_pair"),
        ("good", 5, "text_pair"),
    ]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_long_text_has_the_words_that_are_read(kind: str) -> None:
    text = "good film " * 40
    whole = [word.word for word in found(kind, Text(text))]
    short = [word.word for word in found(kind, Text(text, max_length=8))]
    assert 0 < len(short) < len(whole) < 80
    assert short[:-1] == whole[: len(short) - 1]
    assert whole[len(short) - 1].startswith(short[-1])  # it may be cut


def test_what_a_caller_writes_like_a_special_token_is_a_word() -> None:
    assert "[SEP]" in [word.word for word in found("wordpiece", Text("good [SEP] film"))]


def pieces(*spans: tuple[int, int], word: int = 0) -> list[Piece]:
    return [Piece("text", word, *span) for span in spans]


def test_one_word_of_the_tokenizer_s_with_spaces_in_it_is_several() -> None:
    # as a tokenizer has it that splits at no spaces: they begin a piece, or lie between two
    made = to_words(pieces((0, 4), (4, 7), (7, 9), (10, 13)), [1, 2, 3, 4], Text("good film was"))
    assert [(word.word, word.attribution) for word in made] == [
        ("good", 1),
        ("film", 5),
        ("was", 4),
    ]


def test_a_space_that_is_a_piece_belongs_to_the_word_behind_it() -> None:
    made = to_words(pieces((0, 0), (0, 4), (4, 5), (5, 9)), [1, 2, 3, 4], Text("good film"))
    assert [(word.word, word.attribution) for word in made] == [("good", 3), ("film", 7)]


def test_pieces_of_one_character_are_never_torn_apart() -> None:
    torn = [Piece("text", 0, 0, 1), Piece("text", 1, 0, 1), Piece("text", 2, 1, 2)]
    made = to_words(torn, [1, 2, 3], Text("½a"))
    assert [(word.word, word.attribution) for word in made] == [("½", 3), ("a", 3)]


def test_spaces_at_the_end_keep_what_they_carry() -> None:
    spans = [Piece("text", 0, 0, 2), Piece("text", 1, 2, 6), Piece("text", 2, 6, 7)]
    made = to_words(spans, [1, 2, 4], Text("\n\ngood\n"))
    assert [(word.word, word.attribution) for word in made] == [("good", 3), ("\n", 4)]


def test_a_special_token_parts_words() -> None:
    made = to_words(
        [Piece("text", 0, 0, 1), Piece(None), Piece("text_pair", 0, 0, 1)],
        [1, 9, 2],
        Text("a", "b"),
    )
    assert [(word.word, word.of, word.attribution) for word in made] == [
        ("a", "text", 1),
        ("b", "text_pair", 2),
    ]
