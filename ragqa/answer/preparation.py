"""From what a search found to what a model is sent: the context, the prompt around it, the check to come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ragqa.answer.answerable import answerability, hits_evidence, stands_out, unmet
from ragqa.answer.context import Budget, assemble, assemble_sentences, whole
from ragqa.answer.conversation import history_text
from ragqa.answer.evidence import EvidenceReader
from ragqa.answer.extractive import Extractive, NumberedText
from ragqa.answer.limits import TimeLimits
from ragqa.answer.models import ANSWER_TOKENS, CHAT_TOKENS, Fit, prepare_model
from ragqa.answer.prompts import load_prompt, render_prompt
from ragqa.answer.reading import PassageReader
from ragqa.answer.request import ModelRequest
from ragqa.answer.support import Source, SupportChecker
from ragqa.config import Config
from ragqa.corpus.passages import indexed_text
from ragqa.encoders.embedded.catalogue import fitted_to
from ragqa.encoders.embedded.description import Fitted
from ragqa.encoders.onnx_engine import LeanPairs
from ragqa.encoders.tokens import TokenEncoder
from ragqa.errors import UsageError
from ragqa.index.token_store import TokenSource
from ragqa.language.whole import asks_of_all
from ragqa.matching.encoded import encoded_question
from ragqa.timing import timed
from ragqa.types import Context, Conversation, SearchResult

if TYPE_CHECKING:
    import llm
    from llm import Template


class Preparation:
    """Prepares requests as `config` says.

    `evidence_source` returns the token vectors by which sentences are scored, `check_source` those by
    which answers are checked, of a model to which something was fitted. Both are called when they are needed,
    since they load an encoder.
    """

    def __init__(
        self,
        config: Config,
        evidence_source: Callable[[], TokenSource],
        check_source: Callable[[], TokenSource],
    ) -> None:
        self._config = config
        self._evidence_source = evidence_source
        self._check_source = check_source
        self._templates: dict[str, Template] = {}

    @property
    def limits(self) -> TimeLimits:
        """How long the config lets a model take."""
        return TimeLimits(self._config.timeout.silence_s, self._config.timeout.total_s)

    @property
    def _refuses(self) -> bool:
        """Whether the config wants a question refused that looks as if nothing answered it."""
        return self._config.refuse not in (False, "never")

    def prompt_text(self, model: llm.Model) -> str:
        """Return the prompt that `model` is sent, before question and context are filled in.

        Raises UsageError when the config's prompt is not there or cannot be filled.
        """
        template = self._template(prepare_model(model))
        return "\n".join(part for part in (template.system, template.prompt) if part)

    def context(self, result: SearchResult, fitting: Fit, model: str) -> Context:
        """Return the context alone that a model of such a fit would be given."""
        reader = EvidenceReader(self._evidence_source)
        return self._context(result, fitting, _room(fitting, result.question, model), reader)

    def request(
        self,
        result: SearchResult,
        model: llm.Model,
        options: Mapping[str, Any],
        conversation: Conversation,
        check: bool,
    ) -> ModelRequest:
        """Return what `model` is to be sent for `result`, after what was said in `conversation`."""
        fitting = prepare_model(model)
        template = self._template(fitting)
        timings = dict(result.timings_ms)
        reader = EvidenceReader(self._evidence_source)
        with timed(timings, "context"):
            history = history_text(conversation, fitting)
            bare = render_prompt(template, result.question, "", history)
            room = _room(fitting, f"{bare.system or ''}\n{bare.text}", model.model_id)
            context = self._context(result, fitting, room, reader)
            reading = PassageReader(result.question, LeanPairs)
            read = read_context(result, context, reading) if isinstance(model, Extractive) else None
        # What is quoted counts nothing, and would answer with confidence what it does not know.
        counted = self._refuses and isinstance(model, Extractive) and asks_of_all(result.question)
        hopeless = counted or not context.blocks
        support = None
        if not hopeless and (check or self._refuses):
            with timed(timings, "check"):
                source = self._check_source()
                checking = reader if source is self._evidence_source() else EvidenceReader(lambda: source)
                fitted = fitted_to(source.encoder.identity)
                assert fitted is not None, "whoever gives the source sees to it"
                hopeless = self._unanswerable(result, checking, source, fitted, reading)
                if check and not hopeless:
                    support = checker(context, checking, source.encoder, fitted)
        return ModelRequest(
            search=result,
            context=context,
            model=model,
            prompt=render_prompt(template, result.question, context.text, history),
            options=options,
            timings_ms=timings,
            count=None if fitting.window is None else fitting.count,
            read=read,
            checker=support,
            conversation_id=conversation.id,
            hopeless=hopeless,
            limits=self.limits,
        )

    def _template(self, fitting: Fit) -> Template:
        name = fitting.prompt if self._config.prompt == "auto" else self._config.prompt
        if name not in self._templates:
            self._templates[name] = load_prompt(name)
        return self._templates[name]

    def _context(
        self, result: SearchResult, fitting: Fit, room: int | None, reader: EvidenceReader
    ) -> Context:
        wanted = self._config.context
        tokens = fitting.context_tokens if wanted.tokens == "auto" else wanted.tokens
        budget = Budget(tokens if room is None else min(tokens, room), wanted.passages, fitting.count)
        select = fitting.select if wanted.select == "auto" else wanted.select
        if select == "sentences":
            return assemble_sentences(result.hits, budget, result.question, reader.rank)
        return assemble(result.hits, budget)

    def _unanswerable(
        self,
        result: SearchResult,
        reader: EvidenceReader,
        source: TokenSource,
        fitted: Fitted,
        reading: PassageReader,
    ) -> bool:
        """Tell whether the config wants the question refused for what was found."""
        match self._config.refuse:
            case "auto":
                threshold = fitted.refuse_below
            case "strict":
                threshold = fitted.refuse_strictly_below
            case float() as threshold if self._refuses:
                pass
            case _:
                return False
        question = encoded_question(source.encoder, result.question)
        if unmet(result.question, [indexed_text(hit.passage)[0] for hit in result.hits]):
            return True
        if answerability(question, hits_evidence(reader, result.hits), fitted) >= threshold:
            return False
        if self._config.refuse != "auto":
            return True
        return not stands_out([one.score for one in reading.read([hit.passage for hit in result.hits])])


def checker(
    context: Context, reader: EvidenceReader, encoder: TokenEncoder, fitted: Fitted
) -> SupportChecker:
    """Return what checks an answer against the context; `reader` reads vectors that `encoder` made.

    `fitted` is what was fitted to it.
    """
    evidence = reader.read([whole(block) for block in context.blocks])
    sources = [
        Source(block.number, read, " > ".join((block.first.title, *block.first.headings)))
        for block, read in zip(context.blocks, evidence, strict=True)
    ]
    return SupportChecker(sources, encoder, fitted)


def read_context(result: SearchResult, context: Context, reader: PassageReader) -> list[NumberedText]:
    """Return what is read in the first passages of a search, as far as they are in the context."""
    numbers = {passage.id: block.number for block in context.blocks for passage in block.passages}
    passages = [hit.passage for hit in result.hits if hit.passage.id in numbers]
    return [
        NumberedText(numbers[passage.id], read)
        for passage, read in zip(passages, reader.read(passages), strict=False)
    ]


def _room(fitting: Fit, prompt_without_context: str, model: str) -> int | None:
    """Return how many tokens of context fit beside the prompt and an answer; None where no window is known.

    Raises UsageError when there is no room.
    """
    if fitting.window is None:
        return None
    room = fitting.window - ANSWER_TOKENS - CHAT_TOKENS - fitting.count(prompt_without_context)
    if room < 64:
        raise UsageError(
            f"The question is too long for {model}, which reads {fitting.window:,} tokens in all."
        )
    return room
