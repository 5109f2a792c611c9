from __future__ import annotations

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragqa.answer.claims import claims_nothing, content_words, unmarked
from ragqa.answer.refusal import REFUSAL
from ragqa.answer.sentences import answer_sentences
from ragqa.answer.support import Source, SupportChecker
from ragqa.encoders.device import Compute
from ragqa.encoders.embedded.colbert_small import COLBERT_SMALL
from ragqa.encoders.engines import load_encoder
from ragqa.encoders.tokens import EncoderSettings, TokenEncoder
from ragqa.matching.encoded import encoded_texts
from ragqa.types import CheckedSentence

COFFEE = (
    "Coffee is brewed with water just below boiling. Use 60 grams of beans for 1,000 millilitres of water. "
    "The first mill in Trieste was built by Angelo Ferri in 1884."
)
TEA = "Green tea is steeped at 70 degrees for two minutes. The Dutch brought it to Europe."
BICYCLE = "A flat tyre is mended with a patch and rubber cement. The chain wants oil every 200 kilometres."


@pytest.fixture(scope="module")
def encoder() -> TokenEncoder:
    return load_encoder(EncoderSettings(), Compute("cpu"))


@pytest.fixture(scope="module")
def checker(encoder: TokenEncoder) -> SupportChecker:
    evidence = encoded_texts(encoder, [COFFEE, TEA, BICYCLE])
    titles = ("Making coffee", "Brewing tea", "Repairing a Peugeot bicycle")
    return SupportChecker(
        [Source(*parts) for parts in zip((1, 2, 3), evidence, titles, strict=True)],
        encoder,
        COLBERT_SMALL.fitted,
    )


def check_answer(checker: SupportChecker, text: str) -> tuple[CheckedSentence, ...]:
    checks = (checker.check(text, span) for span in answer_sentences(text))
    return tuple(checked for checked in checks if checked is not None)


def only(checker: SupportChecker, text: str) -> CheckedSentence:
    (checked,) = check_answer(checker, text)
    return checked


@pytest.mark.parametrize(
    "text",
    [
        "Use 60 grams of beans for 1,000 millilitres of water. [1]",
        "For 1000 millilitres of water you need sixty grams of coffee beans [1].",
        "Green tea is steeped for 2 minutes, at 70 degrees [2].",
        "1. The chain of a Peugeot wants oil every 200 kilometres [3]",
        "It was Angelo Ferri who built the first mill in Trieste, in 1884. [1]",
        "Mend a flat tyre with rubber cement and a patch.",
    ],
)
def test_what_a_passage_says_is_supported_in_its_words_and_in_others(
    checker: SupportChecker, text: str
) -> None:
    checked = only(checker, text)
    assert checked.verdict == "supported"
    assert checked.support >= 0.5


@pytest.mark.parametrize(
    "text",
    [
        "Use 80 grams of beans for 1,000 millilitres of water. [1]",
        "Use 60 grams of beans for 100 millilitres of water. [1]",
        "The first mill in Trieste was built by Angelo Ferri in 1885. [1]",
        "The first mill in Trieste was built by Angelo Rossi in 1884. [1]",
        "The Swedes brought it to America [2].",
        "The capital of France is Paris.",
        "A saddle is glued with honey and feathers [3].",
    ],
)
def test_a_number_a_name_or_a_matter_that_no_passage_has_is_unsupported(
    checker: SupportChecker, text: str
) -> None:
    checked = only(checker, text)
    assert checked.verdict == "unsupported"
    assert checked.support < 0.5


def test_what_stands_in_a_passage_word_for_word_is_supported(encoder: TokenEncoder) -> None:
    texts = ["What's the budget, roughly? It is 4,200 euros.", "Run `ls`:\n\n```bash\nls -l\n```\n"]
    sources = [Source(number, read) for number, read in enumerate(encoded_texts(encoder, texts), 1)]
    checker = SupportChecker(sources, encoder, COLBERT_SMALL.fitted)
    for said, numbers in {
        "It is 4,200 euros. [1]": (1.0, 1),
        "**It is** 4,200 euros. [1]": (1.0, 1),
        "```bash\nls -l\n```\n[2]": (1.0, 2),
    }.items():
        checked = only(checker, said)
        assert (checked.support, checked.best, checked.verdict) == (*numbers, "supported")
    assert only(checker, "It is 4,300 euros. [1]").verdict == "unsupported"


def test_a_right_sentence_that_cites_the_wrong_passage_is_told_the_right_one(checker: SupportChecker) -> None:
    checked = only(checker, "Green tea is steeped at 70 degrees. [3]")
    assert (checked.verdict, checked.cited, checked.best) == ("wrong citation", (3,), 2)
    assert checked.support == checked.by_block[3] < 0.5 <= checked.by_block[2]


def test_one_right_citation_among_several_is_enough(checker: SupportChecker) -> None:
    checked = only(checker, "Green tea is steeped at 70 degrees. [3][2]")
    assert (checked.verdict, checked.cited) == ("supported", (3, 2))


def test_a_sentence_may_take_half_of_what_it_says_from_each_passage(checker: SupportChecker) -> None:
    checked = only(
        checker, "The Dutch brought tea to Europe, and Angelo Ferri built a mill in Trieste [1, 2]."
    )
    assert checked.verdict == "supported"
    assert checked.support > max(checked.by_block[1], checked.by_block[2])


def test_a_number_that_stands_for_no_passage_counts_as_none(checker: SupportChecker) -> None:
    checked = only(checker, "Green tea is steeped at 70 degrees [7].")
    assert (checked.cited, checked.verdict, checked.best) == ((), "supported", 2)


def test_an_answer_is_checked_sentence_by_sentence(checker: SupportChecker) -> None:
    text = "Here you are:\n\n- Green tea wants 70 degrees. [2]\n- Oil the chain weekly. [3]\n\nIs that all?"
    text += f" {REFUSAL}"
    checks = check_answer(checker, text)
    assert [check.text for check in checks] == [
        "Here you are:\n\n- Green tea wants 70 degrees. [2]",
        "- Oil the chain weekly. [3]",
    ]
    assert all(text[check.start : check.end] == check.text for check in checks)
    alone = [checker.check(text, span) for span in answer_sentences(text)]
    assert [check.text for check in alone if check] == [check.text for check in checks]
    for one, together in zip(filter(None, alone), checks, strict=True):
        assert one.verdict == together.verdict
        assert one.support == pytest.approx(together.support, abs=1e-3)


def test_any_thread_may_check(checker: SupportChecker) -> None:
    texts = [
        "Green tea is steeped at 70 degrees [2].",
        "Use 80 grams of beans [1].",
        "Oil the chain [3].",
    ] * 4
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(partial(check_answer, checker), texts)) == [
            check_answer(checker, text) for text in texts
        ]


def test_without_passages_nothing_is_supported(encoder: TokenEncoder) -> None:
    checked = only(
        SupportChecker([], encoder, COLBERT_SMALL.fitted), "Green tea is steeped at 70 degrees [1]."
    )
    assert (checked.verdict, checked.support, checked.best, checked.by_block) == (
        "unsupported",
        0.0,
        None,
        {},
    )


def test_a_passage_without_words_supports_nothing(encoder: TokenEncoder) -> None:
    sources = [Source(1, *encoded_texts(encoder, ["---"]))]
    assert (
        only(SupportChecker(sources, encoder, COLBERT_SMALL.fitted), "Green tea is steeped [1].").support
        < 0.5
    )


def test_what_is_cut_off_before_it_is_encoded_counts_by_its_words(encoder: TokenEncoder) -> None:
    class Short:
        """Reads two tokens and no further."""

        def __getattr__(self, name: str) -> object:
            return getattr(encoder, name)

        def encode_documents(self, texts: list[str]) -> list[object]:
            return [vectors[:2] for vectors in encoder.encode_documents(texts)]

        def document_spans(self, texts: list[str]) -> list[object]:
            return [spans[:2] for spans in encoder.document_spans(texts)]

    (evidence,) = encoded_texts(encoder, [TEA])
    short = SupportChecker([Source(1, evidence)], Short(), COLBERT_SMALL.fitted)  # type: ignore[arg-type]
    assert only(short, "Green tea is steeped at 70 degrees.").verdict == "supported"
    assert only(short, "Green tea is steeped at 90 degrees.").verdict == "unsupported"


@pytest.mark.parametrize(
    "text",
    [
        "Green tea is not steeped at 70 degrees. [2]",
        "The first mill in Angelo was built by Trieste Ferri in 1884. [1]",
        "Use 1,000 grams of beans for 60 millilitres of water. [1]",
        "Green tea is steeped at 2 degrees for 70 minutes. [2]",
        "The Dutch built the first mill in Trieste. [1, 2]",
    ],
)
def test_known_weakness_a_not_and_exchanged_parts_go_unseen(checker: SupportChecker, text: str) -> None:
    """All its words are there: neither they nor token vectors tell who did what, or that it was not so."""
    assert only(checker, text).verdict == "supported"


@pytest.mark.parametrize(
    "text",
    [
        "Sixty grams is about two ounces of beans. [1]",
        "The mill was built in the late nineteenth century [1].",
    ],
)
def test_known_weakness_what_is_reckoned_from_a_passage_is_doubted(
    checker: SupportChecker, text: str
) -> None:
    assert only(checker, text).verdict == "unsupported"


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It is so. [1][2] Next one. [3]", ["It is so. [1][2]", "Next one. [3]"]),
        ("It is so [1]. Next one [2, 3].", ["It is so [1].", "Next one [2, 3]."]),
        ("Made by Ferri Inc. [1] The next.", ["Made by Ferri Inc. [1]", "The next."]),
        ("Dr. Ferri, e.g. [1], did.", ["Dr. Ferri, e.g. [1], did."]),
        ('He said "go." [1] She went.', ['He said "go." [1]', "She went."]),
        ("It is **so.** [1] Next.", ["It is **so.** [1]", "Next."]),
        ("An example (this one) [1] The X.", ["An example (this one) [1] The X."]),
        ("- one [1]\n- two. [2]\n- three", ["- one [1]", "- two. [2]", "- three"]),
        ("Run:\n```\nls [0]\n```\n[1]\n\nThen go [2].", ["Run:\n```\nls [0]\n```\n[1]", "Then go [2]."]),
        ("First [1]\n\n[2] Second.", ["First [1]", "[2] Second."]),
        ("One.[1]\n[2]\nTwo.", ["One.[1]\n[2]", "Two."]),
        ("Under the hood. [1] `shot` is, too. [2]", ["Under the hood. [1]", "`shot` is, too. [2]"]),
        ("```\nls. [1] b\n```\n[1]", ["```\nls. [1] b\n```\n[1]"]),
        ("Really? [1] Yes! [2]", ["Really? [1]", "Yes! [2]"]),
        ("1. One. [1]\n2. Two. [2]", ["1. One. [1]", "2. Two. [2]"]),
        ("[1]", []),
    ],
)
def test_citations_belong_to_the_sentence_before_them(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in answer_sentences(text)] == sentences


@given(st.text(alphabet=st.sampled_from("aB1.!? \n-`[]"), max_size=80))
def test_spans_are_in_order_whatever_the_text(text: str) -> None:
    spans = answer_sentences(text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize(
    "sentence",
    [
        "Yes.",
        "Here you are:",
        "To make coffee, do this:",
        "**To make coffee:**",
        "## Making coffee",
        "**Making coffee**",
        "Is tea steeped at 70 degrees? [2]",
        "It is. [1]",
        REFUSAL,
        "The passages do not mention tea.",
    ],
)
def test_what_claims_nothing_is_not_checked(checker: SupportChecker, sentence: str) -> None:
    assert claims_nothing(sentence)
    assert checker.check(sentence, (0, len(sentence))) is None


@pytest.mark.parametrize("sentence", ["60 [1]", "Tea.", "**Tea** is steeped.", "- Tea", "`ls -l` lists."])
def test_short_sentences_claim_something_too(sentence: str) -> None:
    assert not claims_nothing(sentence)


def test_numbers_and_names_are_told_from_other_words() -> None:
    words = content_words("In the 1990s Röntgen's X-rays cost $1,500.50, 2,000, or twelve per SmolLM2.")
    assert [(word.stem, word.kind) for word in words if word.kind != "word"] == [
        ("1990", "number"),
        ("rontgen", "name"),
        ("x", "name"),
        ("1500.50", "number"),
        ("2000", "number"),
        ("12", "number"),
        ("smollm2", "name"),
    ]


def test_the_first_word_is_no_name_for_its_capital() -> None:
    def names(text: str) -> list[str]:
        return [text[word.start : word.end] for word in content_words(text) if word.kind == "name"]

    assert names("Coffee came with Angelo. Use Python. ImageMagick loops: Water boils.") == [
        "Angelo",
        "Python",
        "ImageMagick",
    ]


def test_list_marks_are_no_numbers_that_a_passage_could_lack() -> None:
    assert unmarked("2. Oil the chain. [3]\n3. Ride.") == "Oil the chain.\nRide."


def test_checks_are_values(checker: SupportChecker) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        only(checker, "Tea is green.").support = 1.0  # type: ignore[misc]
