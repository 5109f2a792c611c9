"""What is nasty to parsers, as strings that cases are made of."""

from __future__ import annotations

UNITS = [
    *("a", " ", "\n", "\t", "\0", "\r", "\ud800", "\u200b", "e\u0301", "漢", "👩\u200d", "\ufeff"),
    *('"', "'", "* ", "^", "NEAR(", " AND ", " OR ", " NOT ", "col:", "(", ")", "{", "-", "+", "a b ", "½"),
    *("# a\n", "> ", "- ", "1. ", "[", "](", "![", "``` \n", "`", "~~~\n", "| a ", "---\n", "**", "_a_"),
    *("e.g. A ", "\x1b[31m"),
    *("<", "<p>", "<!--", "<a href='", "</", "<![CDATA[", "<table><tr><td>", "<ul><li>", "&#x"),
    *("<ol start='²'>",),
    *("[1]", "[1, ", "[99] ", ". A", ". ", "[1].\n", "a: ", "<top", "<num>", "<title>", "a\tb\n"),
    *("q 0 d 1\n",),
    *(
        "{",
        "[",
        '{"a":',
        "&a [*a]",
        "*a ",
        "<<: ",
        "!!int ",
        "!!bool x",
        "$",
        "${",
        "$input",
        "0x",
        "1:",
        "? ",
    ),
]

SQL = [
    "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, title, text, up TEXT AS (upper(text)))",
    'CREATE TABLE IF NOT EXISTS u (text, "odd\n\'"" name") ',
    "CREATE TABLE IF NOT EXISTS w (id TEXT PRIMARY KEY, text) WITHOUT ROWID",
    "INSERT INTO t (title, text) VALUES (1, x'00ff'), (x'ff', NULL), (NULL, 9e999), ('a', zeroblob(200000))",
    "INSERT INTO t (text) VALUES (CAST(x'ff' AS TEXT)), (char(0, 55296)), ('<p>a</p>'), (randomblob(99))",
    "INSERT INTO w VALUES ('a', 'b'), (x'', 'c'), ('../../etc/passwd', 'd')",
    "CREATE VIEW IF NOT EXISTS v AS SELECT rowid AS id, nothing AS text FROM missing",
    "CREATE VIEW IF NOT EXISTS endless AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
    " SELECT max(x) AS id, 'a' AS text FROM c",
    "CREATE VIEW IF NOT EXISTS many AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
    " SELECT x AS id, 'a' AS text FROM c",
    "CREATE VIEW IF NOT EXISTS big AS SELECT 1 AS id, zeroblob(900000000) AS text",
    "CREATE VIEW IF NOT EXISTS evil AS SELECT 1 AS id, load_extension('/tmp/evil.so') AS text",
    "CREATE VIEW IF NOT EXISTS itself AS SELECT * FROM itself",
    "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5 (id, text)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS f4 USING fts4 (id, text)",
    "CREATE VIRTUAL TABLE IF NOT EXISTS r USING rtree (id, a, b)",
    "INSERT INTO f VALUES ('1', 'words')",
    "PRAGMA writable_schema = ON",
    "UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE f USING nothing(a)' WHERE name = 'f'",
    "UPDATE sqlite_master SET sql = 'CREATE TABLE t (id, text, ' WHERE name = 't'",
    "UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT) WHERE name = 'w'",
    "UPDATE sqlite_master SET rootpage = 1 WHERE name = 'u'",
    "PRAGMA user_version = 7",
]
# Stands for a file beside the database, which no query may write.
WRITTEN = "{written}"
QUERIES = [
    "SELECT 1; SELECT 2",
    "",
    ";",
    f"ATTACH '{WRITTEN}' AS x",
    f"VACUUM INTO '{WRITTEN}'",
    "SELECT 1 AS id, load_extension('x') AS text",
    "DELETE FROM t",
    "PRAGMA query_only = OFF",
    "EXPLAIN SELECT 1",
    "SELECT 1 AS id, zeroblob(999999999) AS text",
    "SELECT 1 AS id, 'a' AS text",
    "CREATE TEMP TABLE x (a)",
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) AS id, 'a' AS text FROM c",
]
