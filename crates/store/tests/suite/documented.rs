//! `docs/database.md` says what the migrations make.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::{Database, on_each_database};

on_each_database!(the_tables_are_as_documented, the_indexes_are_as_documented);

/// Column, type, whether it may be NULL.
type Column = (String, String, bool);

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/database.md");
    std::fs::read_to_string(path).unwrap()
}

/// The cells of a row of a Markdown table, without backticks.
fn cells(line: &str) -> Vec<String> {
    let cells = line.trim().trim_matches('|').split('|');
    cells.map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
}

/// The tables of the section "Tables", each with its columns in order.
fn documented() -> BTreeMap<String, Vec<Column>> {
    let document = document();
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    let mut table = None;
    for line in document.lines() {
        if line.starts_with('#') {
            table = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
        }
        if let (Some(table), true) = (&table, line.starts_with("| `")) {
            let cells = cells(line);
            assert!(cells.len() == 4 && !cells[3].is_empty(), "{line}");
            let may_be_null = ["no", "yes"].iter().position(|word| *word == cells[2]).unwrap() == 1;
            tables.entry(table.clone()).or_default().push((cells[0].clone(), cells[1].clone(), may_be_null));
        }
    }
    tables
}

/// The entities of the diagram, each with its attributes and types.
fn drawn() -> BTreeMap<String, Vec<(String, String)>> {
    let document = document();
    let (_, diagram) = document.split_once("```mermaid").unwrap();
    let (diagram, _) = diagram.split_once("```").unwrap();
    let mut entities: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut entity = None;
    for line in diagram.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, "{"] => entity = Some((*name).to_owned()),
            ["}"] => entity = None,
            [kind, name, ..] => {
                if let Some(entity) = &entity {
                    let attribute = ((*name).to_owned(), (*kind).to_owned());
                    entities.entry(entity.clone()).or_default().push(attribute);
                }
            }
            _ => {}
        }
    }
    entities
}

/// The tables that the migrations made; partitions and the list of migrations are not described one by one.
async fn made(db: &Database) -> BTreeMap<String, Vec<Column>> {
    let sql = if db.is_postgres() {
        "SELECT c.relname || ' ' || a.attname || ' ' || a.attnotnull || ' ' || \
         replace(format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz') \
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
         AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> 'seaql_migrations' ORDER BY c.relname, a.attnum"
    } else {
        "SELECT m.name || ' ' || c.name || ' ' || iif(c.\"notnull\", 'true', 'false') || ' ?' \
         FROM sqlite_master m JOIN pragma_table_xinfo(m.name) c \
         WHERE m.type = 'table' AND m.name NOT IN ('seaql_migrations', 'sqlite_sequence') ORDER BY m.name, c.cid"
    };
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for line in db.select(sql).await.into_iter().flatten() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let column = (words[1].to_owned(), words[3].to_owned(), words[2] == "false");
        tables.entry(words[0].to_owned()).or_default().push(column);
    }
    tables
}

async fn the_tables_are_as_documented(db: Database) {
    let documented = documented();
    let made = made(&db).await;
    if db.is_postgres() {
        assert_eq!(documented, made);
    } else {
        // The types have other names there; which columns there are is the same.
        let names = |tables: &BTreeMap<String, Vec<Column>>| -> BTreeMap<String, Vec<(String, bool)>> {
            let column = |(name, _, may_be_null): &Column| (name.clone(), *may_be_null);
            tables
                .iter()
                .map(|(table, columns)| (table.clone(), columns.iter().map(column).collect()))
                .collect()
        };
        assert_eq!(names(&documented), names(&made));
    }
    let shown: BTreeMap<String, Vec<(String, String)>> = documented
        .into_iter()
        .map(|(table, columns)| (table, columns.into_iter().map(|(name, kind, _)| (name, kind)).collect()))
        .collect();
    assert_eq!(drawn(), shown, "the diagram shows what the tables say");
}

async fn the_indexes_are_as_documented(db: Database) {
    let document = document();
    let (_, section) = document.split_once("## Indexes").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(cells);
    let documented: BTreeSet<String> = rows
        .filter(|cells| db.is_postgres() || !cells[0].ends_with("_pkey") && !cells[1].contains("PostgreSQL"))
        .map(|mut cells| cells.remove(0))
        .collect();
    let sql = if db.is_postgres() {
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace \
         AND c.relkind IN ('i', 'I') AND NOT c.relispartition AND c.relname NOT LIKE 'seaql%'"
    } else {
        "SELECT name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite_autoindex%'"
    };
    let made: BTreeSet<String> = db.select(sql).await.into_iter().flatten().collect();
    assert_eq!(documented, made);
}
