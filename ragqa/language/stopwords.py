"""Words that carry grammar and no subject: left out of a full-text match expression.

The list is long on purpose: a question's scaffolding ("what is the best way to ...") is
longer than a query's, and every such word that stays pulls in passages about nothing.
"""

from __future__ import annotations

_ARTICLES_AND_POINTERS = (
    "a an the this that these those such same other another each every either neither both"
)
_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself
she her hers herself it its itself they them their theirs themselves one ones someone somebody
anyone anybody everyone everybody something anything everything nothing
"""
_QUESTIONS = (
    "what which who whom whose when where why how whether whatever whichever whoever wherever whenever"
)
_PREPOSITIONS = """
of in on at by for with about against between among into onto through throughout during before after
above below to from up down out off over under within without upon toward towards across along
around behind beside besides beyond per via
"""
_CONJUNCTIONS = (
    "and or but nor so yet if then else than because as until while although though unless since once"
)
_AUXILIARIES = """
be am is are was were been being do does did doing done have has had having can could will would shall
should may might must ought let lets get gets got getting
"""
_ADVERBS = """
not no only own too very just also again further here there now ever never always often sometimes
usually still already almost quite rather really actually even well much many more most less least
few little several some any all enough however therefore thus hence instead maybe perhaps please
"""
_CONTRACTIONS = """
s t d ll m re ve don didn doesn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn mustn
cannot im ive id youre thats whats theres
"""

ENGLISH: frozenset[str] = frozenset(
    " ".join(
        (
            _ARTICLES_AND_POINTERS,
            _PRONOUNS,
            _QUESTIONS,
            _PREPOSITIONS,
            _CONJUNCTIONS,
            _AUXILIARIES,
            _ADVERBS,
            _CONTRACTIONS,
        )
    ).split()
)

STOP_LISTS: dict[str, frozenset[str]] = {"english": ENGLISH, "none": frozenset()}
