//! The rules of the house that no compiler knows: the crate graph, purity, where `unsafe` and foreign protocols may be,
//! sizes, paths. Each violation names its place and what to do.

mod lexer;
mod rules;
mod table;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use crate::run;
use lexer::Code;
use table::Table;

/// A broken rule.
#[derive(Debug)]
pub struct Violation {
    path: String,
    /// From 1; 0 when it concerns the whole file.
    line: usize,
    advice: String,
}

impl Violation {
    fn new(path: &str, line: usize, advice: String) -> Self {
        Self { path: path.to_owned(), line, advice }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.advice),
            line => write!(f, "{}:{line}: {}", self.path, self.advice),
        }
    }
}

/// A text file of the repository.
struct File {
    /// From the root.
    path: String,
    text: String,
}

/// Checks everything and prints the violations; the error says how many there are.
pub fn run() -> Result<(), String> {
    let found = check()?;
    for violation in &found {
        println!("{violation}");
    }
    match found.len() {
        0 => Ok(()),
        n => Err(format!("tidy: {n} violation{}", if n == 1 { "" } else { "s" })),
    }
}

fn check() -> Result<Vec<Violation>, String> {
    let files = files()?;
    let document = files.iter().find(|file| file.path == "ARCHITECTURE.md");
    let table = table::parse(&document.ok_or("ARCHITECTURE.md is not there")?.text)?;
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let (_, metadata) = run::cargo().args(arguments).capture()?;
    let mut found = table::check(&table, &table::members(&metadata)?);
    let root = run::root();
    for file in files.iter().filter(|file| !is_generated(&file.path)) {
        rules::text(&file.path, &file.text, &mut found);
        if file.path.ends_with(".md") {
            let directory = root.join(&file.path).parent().map(Path::to_path_buf).unwrap_or_default();
            rules::links(&file.path, &file.text, |target| directory.join(target).exists(), &mut found);
        }
    }
    check_code(&files, &table, &mut found);
    Ok(found)
}

fn check_code(files: &[File], table: &Table, found: &mut Vec<Violation>) {
    let codes: Vec<(&File, Code)> =
        files.iter().filter(|f| f.path.ends_with(".rs")).map(|f| (f, Code::new(&f.text))).collect();
    let tests: BTreeSet<String> =
        codes.iter().flat_map(|(file, code)| test_files(&file.path, code)).collect();
    let mut file_lengths = Vec::new();
    let mut function_lengths = Vec::new();
    for (file, code) in &codes {
        let krate = crate_of(&file.path);
        let is_test = is_test_path(&file.path, &tests);
        let row = table.get(krate).filter(|_| !is_test);
        rules::code(&file.path, code, krate, row, found);
        if is_test {
            continue;
        }
        file_lengths.push((file.path.clone(), 0, code.lines_without_tests()));
        let functions = code.functions().into_iter().filter(|f| !code.is_test(f.first));
        function_lengths
            .extend(functions.map(|f| (format!("{}:{} `{}`", file.path, f.first, f.name), 0, f.len())));
    }
    let scripts = files.iter().filter(|f| is_script(&f.path) && !is_generated(&f.path));
    file_lengths.extend(scripts.map(|f| (f.path.clone(), 0, f.text.lines().count())));
    rules::lengths("a file", rules::FILE_LINES, &file_lengths, found);
    rules::lengths("a function", rules::FUNCTION_LINES, &function_lengths, found);
}

/// Every text file that git knows or would add.
fn files() -> Result<Vec<File>, String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let (listed, names) = run::program("git").args(arguments).capture()?;
    if !listed {
        return Err("tidy asks git for the files of the repository, and git does not know it".into());
    }
    let root = run::root();
    // A file that is no UTF-8 is a picture or a font; one that cannot be read was just deleted.
    let read = |path: &str| {
        Some(File { path: path.to_owned(), text: std::fs::read_to_string(root.join(path)).ok()? })
    };
    Ok(names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect())
}

/// `crates/NAME/…` or `xtask/…`; empty elsewhere.
fn crate_of(path: &str) -> &str {
    let mut parts = path.split('/');
    match (parts.next(), parts.next()) {
        (Some("crates"), Some(name)) => name,
        (Some("xtask"), _) => "xtask",
        _ => "",
    }
}

fn is_script(path: &str) -> bool {
    [".ts", ".tsx", ".js", ".mjs", ".css", ".py"].iter().any(|end| path.ends_with(end))
}

/// Written by a program, text of others, or input for fuzzing.
fn is_generated(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_corpus = path.starts_with("fuzz/corpus/");
    is_corpus || matches!(name, "Cargo.lock" | "package-lock.json" | "LICENSE") || path.ends_with(".svg")
}

/// Stems of the module files that `code`, in the file `path`, declares for tests alone.
fn test_files(path: &str, code: &Code) -> Vec<String> {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.trim_end_matches(".rs");
    let directory = match stem {
        "mod" | "lib" | "main" => directory.to_owned(),
        _ => format!("{directory}/{stem}"),
    };
    code.test_modules().iter().map(|module| format!("{directory}/{module}")).collect()
}

fn is_test_path(path: &str, tests: &BTreeSet<String>) -> bool {
    let in_tests = path.split('/').nth(2) == Some("tests") || path.starts_with("tests/");
    let stem = path.trim_end_matches(".rs");
    in_tests
        || tests
            .iter()
            .any(|test| stem == test || stem.strip_prefix(test.as_str()).is_some_and(|r| r.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_modules_in_files_of_their_own_count_as_tests() {
        let code = Code::new("#[cfg(test)]\nmod tests;\n");
        let tests: BTreeSet<String> = test_files("crates/rtc/src/lib.rs", &code)
            .into_iter()
            .chain(test_files("crates/rtc/src/ice.rs", &code))
            .collect();
        assert!(is_test_path("crates/rtc/src/tests.rs", &tests));
        assert!(is_test_path("crates/rtc/src/tests/loss.rs", &tests));
        assert!(is_test_path("crates/rtc/src/ice/tests.rs", &tests));
        assert!(is_test_path("crates/rtc/tests/call.rs", &tests));
        assert!(!is_test_path("crates/rtc/src/ice.rs", &tests));
        assert!(!is_test_path("crates/rtc/src/tests_of_life.rs", &tests));
    }

    #[test]
    fn a_path_tells_its_crate() {
        assert_eq!(crate_of("crates/rtc/src/lib.rs"), "rtc");
        assert_eq!(crate_of("xtask/src/main.rs"), "xtask");
        assert_eq!(crate_of("web/meet/vite.config.ts"), "");
    }
}
