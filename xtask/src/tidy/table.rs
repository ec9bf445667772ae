//! The crate table of ARCHITECTURE.md, and the crate graph as cargo sees it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Violation;

const HEADER: &str = "| crate | ring | may import |";
const TABLE: &str = "ARCHITECTURE.md";

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Line in the document.
    pub line: usize,
    pub ring: String,
    /// `None`: everything.
    pub may_import: Option<BTreeSet<String>>,
}

impl Row {
    /// No IO, no clock, no locks, no async, no randomness of its own.
    pub fn is_pure(&self) -> bool {
        matches!(self.ring.as_str(), "base" | "pure")
    }
}

/// The table, by crate.
pub type Table = BTreeMap<String, Row>;

/// A crate as cargo sees it: its own name, and what it imports outside of tests and build scripts.
pub struct Member {
    pub name: String,
    /// Of this workspace.
    pub internal: BTreeSet<String>,
    /// Of the registry.
    pub external: BTreeSet<String>,
}

/// Reads the table out of the document.
pub fn parse(document: &str) -> Result<Table, String> {
    let mut lines = document.lines().enumerate().skip_while(|(_, line)| !line.starts_with(HEADER)).skip(2);
    let mut table = Table::new();
    for (at, line) in lines.by_ref().take_while(|(_, line)| line.starts_with('|')) {
        let cells: Vec<String> =
            line.trim_matches('|').split('|').map(|c| c.trim().replace('`', "")).collect();
        let [name, ring, imports, ..] = cells.as_slice() else {
            return Err(format!("{TABLE}:{}: a row of the crate table has at least three cells", at + 1));
        };
        let may_import = match imports.as_str() {
            "everything" => None,
            "nothing" => Some(BTreeSet::new()),
            names => Some(names.split_whitespace().map(str::to_owned).collect()),
        };
        table.insert(name.clone(), Row { line: at + 1, ring: ring.clone(), may_import });
    }
    if table.is_empty() {
        return Err(format!("{TABLE}: the crate table is not there; it starts with the line `{HEADER} …`"));
    }
    Ok(table)
}

/// Reads the workspace's crates out of `cargo metadata --no-deps`.
pub fn members(metadata: &str) -> Result<Vec<Member>, String> {
    let metadata: Value = serde_json::from_str(metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    Ok(packages.iter().map(member).collect())
}

fn member(package: &Value) -> Member {
    let mut member = Member {
        name: package["name"].as_str().unwrap_or_default().to_owned(),
        internal: BTreeSet::new(),
        external: BTreeSet::new(),
    };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        // `kind` is null for a normal dependency, else "dev" or "build".
        if !dependency["kind"].is_null() {
            continue;
        }
        let name = dependency["name"].as_str().unwrap_or_default().to_owned();
        if dependency["path"].is_string() {
            member.internal.insert(name)
        } else {
            member.external.insert(name)
        };
    }
    member
}

/// Registry crates that bring a clock, threads, IO or randomness with them.
const IMPURE: [&str; 9] =
    ["tokio", "mio", "socket2", "rand", "getrandom", "parking_lot", "crossbeam-channel", "async-std", "libc"];

/// Holds the crates against the table.
pub fn check(table: &Table, members: &[Member]) -> Vec<Violation> {
    let mut found = Vec::new();
    for member in members {
        let manifest = format!("Cargo.toml of `{}`", member.name);
        let Some(row) = table.get(&member.name) else {
            let advice = format!(
                "`{}` has no row in the crate table: add one, with its ring and imports",
                member.name
            );
            found.push(Violation::new(TABLE, 0, advice));
            continue;
        };
        let forbidden =
            |name: &&String| row.may_import.as_ref().is_some_and(|allowed| !allowed.contains(*name));
        for name in member.internal.iter().filter(forbidden) {
            let advice = format!(
                "`{}` may not import `{name}`: move the code, pass plain data, or change the table and say why",
                member.name
            );
            found.push(Violation::new(&manifest, 0, advice));
        }
        for name in member.external.iter().filter(|name| row.is_pure() && IMPURE.contains(&name.as_str())) {
            let advice =
                format!("`{}` is pure and may not depend on `{name}`: that belongs in a shell", member.name);
            found.push(Violation::new(&manifest, 0, advice));
        }
        if member.external.contains("livekit-protocol")
            && !super::rules::KNOWS_LIVEKIT.contains(&member.name.as_str())
        {
            let advice =
                format!("`{}` may not know LiveKit's protobuf: translate it in `livekit`", member.name);
            found.push(Violation::new(&manifest, 0, advice));
        }
    }
    for (name, row) in table.iter().filter(|(name, _)| !members.iter().any(|m| m.name == **name)) {
        found.push(Violation::new(TABLE, row.line, format!("there is no crate `{name}`: remove the row")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "\
Text.

| crate | ring | may import | what it is |
|---|---|---|---|
| `base` | base | nothing | ids |
| `room` | pure | `base` | rooms |
| `stoa` | binary | everything | main |

| other | table |
";

    fn metadata(room_needs: &str) -> String {
        format!(
            r#"{{"packages": [
                {{"name": "base", "dependencies": []}},
                {{"name": "room", "dependencies": [{room_needs}]}},
                {{"name": "stoa", "dependencies": [{{"name": "room", "kind": null, "path": "/x"}}]}}]}}"#
        )
    }

    fn violations(room_needs: &str) -> Vec<String> {
        let table = parse(DOCUMENT).expect("a table");
        check(&table, &members(&metadata(room_needs)).expect("metadata"))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_graph_of_the_table_is_accepted() {
        let base = r#"{"name": "base", "kind": null, "path": "/x"}"#;
        let dev = r#"{"name": "stoa", "kind": "dev", "path": "/x"}, {"name": "tokio", "kind": "dev"}"#;
        assert_eq!(violations(&format!("{base}, {dev}")), [""; 0]);
    }

    #[test]
    fn an_import_that_the_table_does_not_allow_is_named() {
        let found = violations(r#"{"name": "stoa", "kind": null, "path": "/x"}"#);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("`room` may not import `stoa`"), "{found:?}");
    }

    #[test]
    fn a_runtime_in_a_pure_crate_is_named() {
        let found = violations(r#"{"name": "tokio", "kind": null}"#);
        assert!(found[0].contains("`room` is pure and may not depend on `tokio`"), "{found:?}");
    }

    #[test]
    fn protobuf_in_another_crate_is_named() {
        let found = violations(r#"{"name": "livekit-protocol", "kind": null}"#);
        assert!(found[0].contains("may not know LiveKit's protobuf"), "{found:?}");
    }

    #[test]
    fn crates_without_row_and_rows_without_crate_are_named() {
        let table = parse(&DOCUMENT.replace("`room`", "`rooms`")).expect("a table");
        let found = check(&table, &members(&metadata("")).expect("metadata"));
        let text: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(text[0].contains("`room` has no row"), "{text:?}");
        assert!(text[1].starts_with("ARCHITECTURE.md:6: there is no crate `rooms`"), "{text:?}");
    }

    #[test]
    fn a_document_without_the_table_is_an_error() {
        assert!(parse("nothing here").is_err());
    }
}
