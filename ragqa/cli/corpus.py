"""Commands about the documents: ingest, index, status, remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ragqa.cli import completion, show
from ragqa.cli.options import ConfigName, Db, Device, Json
from ragqa.cli.question import open_pipeline
from ragqa.service.forms import size

if TYPE_CHECKING:
    from ragqa.cluster.ray_cluster import Cluster
    from ragqa.corpus.ingest import IngestReport
    from ragqa.pipeline import Pipeline

Engine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="NAME", help="local: in this process; ray: by workers of a Ray cluster."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="auto or HOST:PORT on a machine of the cluster, else ray://HOST:PORT. Default: its own Ray.",
    ),
]
WorkerCores = Annotated[
    int | None,
    typer.Option("--worker-cores", min=1, help="Cores of each Ray worker. Default: all of its machine."),
]


Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE", help="Folders, files, quoted globs, SQLite databases, http(s) addresses."
    ),
]
Table = Annotated[str | None, typer.Option(help="The table or view of a SQLite database.")]
Sql = Annotated[str | None, typer.Option(help="A query on the database, instead of a table.")]
Id = Annotated[str | None, typer.Option("--id", help="The field that identifies a document.")]
Title = Annotated[str | None, typer.Option(help="The field with the title.")]
Text = Annotated[str | None, typer.Option(help="The field with the text, or several: body,notes.")]
Meta = Annotated[str | None, typer.Option(help="Fields to keep as metadata: created,topic.")]
Format = Annotated[
    str,
    typer.Option(metavar="NAME", autocompletion=completion.formats, help="auto, markdown, html or text."),
]
Packages = Annotated[
    bool, typer.Option("--packages", help="The descriptions of the installed Python packages.")
]
IdPrefix = Annotated[str, typer.Option(help="Put before each id, to tell sources apart.")]
TakeOver = Annotated[
    bool, typer.Option("--take-over", help="Replace documents of other sources with the same ids.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Remove documents that are gone from these sources.")]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Only such files of a folder. Can be repeated."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="No such files or folders. Can be repeated."),
]
MaxSize = Annotated[
    float | None, typer.Option("--max-size", metavar="MB", min=0, help="No larger files of a folder.")
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Read what links lead to, outside of a folder as well.")
]
Password = Annotated[str, typer.Option("--password", envvar="RAGQA_PASSWORD", help="Opens encrypted files.")]
Offline = Annotated[bool, typer.Option("--offline", help="Fetch nothing: an address is refused.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Name all that was not read.")]


def ingest(
    sources: Sources = None,
    table: Table = None,
    sql: Sql = None,
    id: Id = None,
    title: Title = None,
    text: Text = None,
    meta: Meta = None,
    format: Format = "auto",
    packages: Packages = False,
    id_prefix: IdPrefix = "",
    take_over: TakeOver = False,
    prune: Prune = False,
    include: Include = None,
    exclude: Exclude = None,
    max_size: MaxSize = None,
    follow_links: FollowLinks = False,
    password: Password = "",
    offline: Offline = False,
    verbose: Verbose = False,
    config: ConfigName = "default",
    db: Db = None,
    json: Json = False,
) -> None:
    """Read documents into the corpus: what is new or changed, and nothing twice.

    Sources are folders and files (text, PDF, Office, books, mail, notebooks, tables, code, zip), JSON lines
    and CSV, and tables of SQLite databases; --id, --title, --text and --meta say which fields of these are
    what. Left out are hidden files, what .gitignore and .ragqaignore name, links out of a folder, and what
    programs made (node_modules). Documents that are gone stay in the corpus until --prune.

    Example: ragqa ingest ~/notes
    Example: ragqa ingest blog.db --table blog_entry --id id --title title --text body --meta created
    Example: ragqa ingest til.ndjson --id slug --title title --text body --prune
    """
    from ragqa.operations.corpus import ingest_sources
    from ragqa.sources import Choice, Fields, open_sources
    from ragqa.sources.text import check_format

    check_format(format)
    fields = Fields(id, title, _names(text), _names(meta), format, id_prefix)
    largest = None if max_size is None else int(max_size * 1_000_000)
    choice = Choice(tuple(include or ()), tuple(exclude or ()), largest, follow_links)
    opened = open_sources(
        sources or [],
        fields,
        table=table,
        sql=sql,
        packages=packages,
        choice=choice,
        password=password,
        offline=offline,
    )
    totals = [source.total for source in opened]
    total = sum(count or 0 for count in totals) if all(totals) else None
    said = [""]

    def advanced(report: IngestReport) -> None:
        said[0] = report.under_way
        advance(report.seen, total)

    with show.progress("Reading documents", lambda: said[0]) as advance:
        report = ingest_sources(db, config, opened, prune=prune, take_over=take_over, on_document=advanced)
    if json:
        show.print_json(report.as_json())
        return
    _say(report, verbose)


def _say(report: IngestReport, verbose: bool) -> None:
    show.say(
        f"{report.added:,} added, {report.replaced:,} replaced, {report.unchanged:,} unchanged, "
        f"{report.pruned:,} pruned, {len(report.skipped):,} skipped"
    )
    for line in (report.not_read(), report.not_looked_at()):
        if line:
            show.note(line)
    for line in report.skipped_lines(None if verbose else 5):
        show.note(line)
    if report.prune_refused:
        show.note("Nothing was pruned from a source that is not a whole folder or could not be read whole.")


def index(
    config: ConfigName = "default",
    rechunk: Annotated[
        bool, typer.Option("--rechunk", help="Cut the documents again as the config says.")
    ] = False,
    drop_unused: Annotated[
        bool, typer.Option("--drop-unused", help="Delete vectors and indexes that this config does not use.")
    ] = False,
    engine: Engine = "local",
    address: Address = None,
    worker_cores: WorkerCores = None,
    db: Db = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Make what a config searches: the full-text index and the vectors.

    What is there already is not made again, and a killed run goes on where it stopped. With --engine ray,
    workers make the vectors, one on each GPU or machine, and this process writes them; their machines have
    the same ragqa and models, and need not see the corpus.

    Example: ragqa index
    Example: ragqa index -c colbert-plaid --device cuda
    Example: ragqa index --engine ray --address auto
    """
    from ragqa.cluster.ray_cluster import open_cluster

    with (
        open_cluster(engine, address, worker_cores) as cluster,
        open_pipeline(config, db, device) as pipeline,
    ):
        report = build(pipeline, cluster, "Indexing", rechunk=rechunk, drop_unused=drop_unused)
    if json:
        show.print_json(report)
        return
    for stage, built in report["stages"].items():
        show.say(f"{stage}: {built:,} passages indexed" if built else f"{stage}: up to date")
    if rechunk:
        show.say(f"{report['rechunked']:,} documents cut again")
    if drop_unused:
        show.say(f"{report['dropped']:,} passages' unused vectors deleted")


def build(pipeline: Pipeline, cluster: Cluster | None, label: str, **options: Any) -> dict[str, Any]:
    """Build what `pipeline` searches, here or by the workers of a cluster, and show how far it is."""
    from ragqa.operations.corpus import build_index

    if cluster is None:
        with show.progress(label) as advance:
            return build_index(pipeline, on_passages=advance, **options)
    from ragqa.cluster.ray_index import RayEngine

    with RayEngine(cluster, pipeline) as engine, show.progress(label, engine.about) as advance:
        return build_index(pipeline, on_passages=advance, engine=engine, **options)


def status(
    db: Db = None,
    index: Annotated[
        bool, typer.Option("--index", help="Show the files of the PLAID index and their tensors.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what the corpus holds, how large it is, and what is stale.

    Example: ragqa status
    Example: ragqa status --db notes.db --json
    """
    from ragqa.corpus.database import Corpus
    from ragqa.files import default_corpus
    from ragqa.operations.corpus import corpus_status

    with Corpus.open(db or default_corpus()) as corpus:
        report = corpus_status(corpus, index_files=index)
    if json:
        show.print_json(report)
    else:
        _print_status(report)


def remove(
    documents: Annotated[
        list[str],
        typer.Argument(metavar="DOCUMENT", autocompletion=completion.documents, help="Ids of documents."),
    ],
    db: Db = None,
) -> None:
    """Remove documents and everything made from them.

    When one of the ids is wrong, none is removed. Ingesting their source again brings them back.

    Example: ragqa remove notes/old.md
    Example: ragqa remove notes/old.md notes/older.md --db notes.db
    """
    from ragqa.corpus.database import Corpus
    from ragqa.files import default_corpus
    from ragqa.operations.corpus import remove_documents

    with Corpus.open(db or default_corpus()) as corpus:
        removed = remove_documents(corpus, documents)
    show.say(f"{removed:,} removed")


def _names(option: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (option or "").split(",") if name.strip())


def _print_status(report: dict[str, Any]) -> None:
    chunk = report["chunk"]
    show.say(f"Corpus      {report['path']} ({size(report['bytes'])})")
    show.say(f"Documents   {report['documents']:,}")
    for origin in report["origins"]:
        show.say(f"            {origin['documents']:,} from {origin['origin']}")
    cut = f", at most {chunk['tokens']} tokens, overlap {chunk['overlap']}" if chunk else ""
    show.say(f"Passages    {report['passages']:,}{cut}")
    for full_text in report["full_text"]:
        show.say(f"Full text   {full_text['tokenizer']}")
    for encoder in report["encoders"]:
        _print_vectors(encoder, f"{encoder['token_vectors']:,} token vectors")
    for embedder in report["embedders"]:
        _print_vectors(embedder, "dense vectors")
    for plaid in report["plaid"]:
        show.say(f"PLAID       {plaid['passages']:,} passages, {size(plaid['bytes'])} in {plaid['folder']}")
        if plaid["missing"]:
            show.say(f"            {plaid['missing']:,} passages are not in it yet: ragqa index")
        for file in plaid.get("files", ()):
            show.say(f"            {file['name']:<24} {size(file['bytes']):>9}  {'; '.join(file['tensors'])}")
    if not report["encoders"] and not report["embedders"]:
        show.say("Vectors     none yet: ragqa index")


def _print_vectors(model: dict[str, Any], what: str) -> None:
    show.say(
        f"Vectors     {model['model']} {model['codec']}: {model['passages']:,} passages, {what}, "
        f"{size(model['bytes'])}"
    )
    if model["missing"]:
        show.say(f"            {model['missing']:,} passages have none yet: ragqa index")
