"""Which loader reads a file: by its suffix.

Those here are in LOADERS; those of other packages have the entry point group `ragqa.loaders`, whose names are
suffixes (".dwg") and whose values are functions from a File to the documents in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points

from ragqa.sources.apart import read_apart
from ragqa.sources.loader import File, Loader, Read
from ragqa.sources.source import Item, Skipped
from ragqa.sources.text import UnreadableError

LOADERS = (
    Loader((".md", ".markdown", ".mdx", ".qmd", ".rmd"), "ragqa.sources.plain:read_markdown"),
    Loader((".html", ".htm", ".xhtml"), "ragqa.sources.plain:read_html"),
    Loader(
        (".txt", ".text", ".log", ".ini", ".cfg", ".toml", ".yaml", ".yml"), "ragqa.sources.plain:read_text"
    ),
    Loader((".rst", ".org", ".adoc", ".asciidoc", ".tex"), "ragqa.sources.markup:read"),
    Loader((".pdf",), "ragqa.sources.pdf:read", ("pypdfium2",), "docs", apart=True),
    Loader((".docx",), "ragqa.sources.word:read_docx", ("mammoth",), "docs", apart=True),
    Loader((".odt",), "ragqa.sources.word:read_odt", ("odfdo",), "docs", apart=True),
    Loader((".rtf",), "ragqa.sources.word:read_rtf", ("striprtf",), "docs", apart=True),
    Loader((".pptx",), "ragqa.sources.slides:read_pptx", ("pptx",), "docs", apart=True),
    Loader((".odp",), "ragqa.sources.slides:read_odp", ("odfdo",), "docs", apart=True),
    Loader(
        (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
        "ragqa.sources.sheets:read",
        ("python_calamine",),
        "docs",
        apart=True,
    ),
    Loader((".msg",), "ragqa.sources.outlook:read", ("oxmsg",), "docs", apart=True),
    Loader(
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"),
        "ragqa.sources.ocr:read_image",
        ("rapidocr", "PIL"),
        "ocr",
        apart=True,
    ),
    Loader((".ipynb",), "ragqa.sources.notebooks:read"),
    Loader((".csv", ".tsv"), "ragqa.sources.tables:read_csv"),
    Loader((".json", ".xml"), "ragqa.sources.data:read"),
    Loader((".eml",), "ragqa.sources.mail:read_message"),
    Loader((".mbox",), "ragqa.sources.mail:read_mailbox"),
    Loader((".epub",), "ragqa.sources.books:read", apart=True),
    Loader((".zip",), "ragqa.sources.archives:read"),
    Loader((".py", ".pyi"), "ragqa.sources.code:read_python"),
    Loader(
        (
            *(
                ".js",
                ".mjs",
                ".cjs",
                ".ts",
                ".jsx",
                ".tsx",
                ".java",
                ".kt",
                ".scala",
                ".go",
                ".rs",
                ".c",
                ".h",
            ),
            *(
                ".cc",
                ".cpp",
                ".hpp",
                ".cs",
                ".swift",
                ".rb",
                ".php",
                ".sh",
                ".bash",
                ".sql",
                ".lua",
                ".r",
                ".jl",
            ),
        ),
        "ragqa.sources.code:read_other",
    ),
)

# Kinds of which a person knows that there is no text in them, and those that are read in another way.
NO_TEXT = "no text"
OTHERWISE = {
    **dict.fromkeys((".jsonl", ".ndjson"), "records: name the file itself, with --id and --text"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), "a database: name it, with --table"),
}


@cache
def loader_of(suffix: str) -> Loader | None:
    """Return the loader of ragqa's own for files that end so, in small letters; None where there is none."""
    return next((loader for loader in LOADERS if suffix in loader.suffixes), None)


@cache
def plugins() -> dict[str, Read]:
    """Return the loaders of other packages by suffix."""
    return {point.name.lower(): partial(_read_by, point) for point in entry_points(group="ragqa.loaders")}


def _read_by(point: EntryPoint, file: File) -> Iterator[Item]:
    # Loaded for the first of its files: a package that can't be imported spoils no other's.
    yield from point.load()(file)


def suffixes() -> set[str]:
    """Return the suffixes of all files that some loader reads."""
    return {suffix for loader in LOADERS for suffix in loader.suffixes} | plugins().keys()


def read(file: File, suffix: str) -> Iterator[Item]:
    """Yield the documents of a file that ends in `suffix`, or what it was passed over for."""
    if suffix in plugins():
        yield from _survived(plugins()[suffix], file)
        return
    loader = loader_of(suffix)
    if loader is None:
        yield Skipped(file.name, OTHERWISE.get(suffix, NO_TEXT), kind=suffix or "without a suffix")
    elif loader.lacks():
        yield Skipped(file.name, f"pip install 'ragqa[{loader.extra}]'", unread=True, kind=suffix)
    elif loader.apart:
        yield from read_apart(loader, file)
    else:
        yield from _survived(loader.load(), file)


def _survived(read: Read, file: File) -> Iterator[Item]:
    """Yield what `read` does; a file that it trips over is one that is damaged, and costs no other."""
    try:
        yield from read(file)
    except (UnreadableError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UnreadableError(f"damaged ({type(error).__name__})") from error
