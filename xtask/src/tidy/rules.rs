//! What a line may not contain, and how long a file and a function may be.

use super::Violation;
use super::lexer::Code;
use super::table::Row;

/// The crates that may know LiveKit's protobuf.
pub const KNOWS_LIVEKIT: [&str; 2] = ["livekit", "client"];
/// The crate that may contain `unsafe`.
const MAY_BE_UNSAFE: &str = "udp";

/// Words (path segments, matched whole) that a pure crate does not contain, and what to do instead.
const IMPURE: [(&str, &str); 12] = [
    ("Instant::now", "take `now: Instant` as a parameter"),
    ("SystemTime::now", "take the time as a parameter"),
    ("thread::spawn", "threads belong in a shell"),
    ("thread::Builder", "threads belong in a shell"),
    ("thread::sleep", "say when to be called again with `poll_timeout`"),
    ("rand", "take a seed or random bytes as a parameter"),
    ("getrandom", "take a seed or random bytes as a parameter"),
    ("tokio", "async belongs in a shell"),
    ("Mutex", "one owner and `&mut`; sharing belongs in a shell"),
    ("RwLock", "one owner and `&mut`; sharing belongs in a shell"),
    ("std::fs", "files belong in a shell"),
    ("UdpSocket", "sockets belong in a shell"),
];

/// Directories of a machine, not of the repository. Written in two halves so that this file keeps the rule.
const MACHINE_PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];

/// Longest file without its tests, in lines: hard, and what 95 % keep.
pub const FILE_LINES: (usize, usize) = (1_500, 800);
/// Longest function in lines: hard, and what 95 % keep.
pub const FUNCTION_LINES: (usize, usize) = (120, 50);

/// Rules about code of `krate`, of which `row` is the row in the table where it has one. Lines of tests are exempt from purity.
pub fn code(path: &str, code: &Code, krate: &str, row: Option<&Row>, found: &mut Vec<Violation>) {
    let pure = row.is_some_and(Row::is_pure);
    for (line, text) in code.numbered() {
        if krate != MAY_BE_UNSAFE && has_word(text, "unsafe") {
            found.push(Violation::new(path, line, "`unsafe` belongs in the crate `udp` alone".into()));
        }
        if !KNOWS_LIVEKIT.contains(&krate) && has_word(text, "livekit_protocol") {
            found.push(Violation::new(
                path,
                line,
                "LiveKit's protobuf is known to `livekit` and `client` alone".into(),
            ));
        }
        if pure && !code.is_test(line) {
            let broken = IMPURE.iter().filter(|(word, _)| has_word(text, word));
            found.extend(broken.map(|(word, advice)| {
                Violation::new(path, line, format!("`{word}` in the pure crate `{krate}`: {advice}"))
            }));
        }
    }
}

/// Rules about any text file.
pub fn text(path: &str, text: &str, found: &mut Vec<Violation>) {
    for (at, line) in text.lines().enumerate() {
        if let Some(machine) = MACHINE_PATHS.iter().find(|machine| has_path(line, machine)) {
            let advice = format!("`{machine}` is a path of one machine: make it relative to the repository");
            found.push(Violation::new(path, at + 1, advice));
        }
        if line.ends_with([' ', '\t']) {
            found.push(Violation::new(path, at + 1, "trailing white space: remove it".into()));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        found.push(Violation::new(
            path,
            text.lines().count(),
            "the last line has no end: add a newline".into(),
        ));
    }
}

/// Links of a document to files of the repository; `exists` is asked with a path from the document's directory.
pub fn links(path: &str, text: &str, exists: impl Fn(&str) -> bool, found: &mut Vec<Violation>) {
    for (at, line) in text.lines().enumerate() {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next());
        let files = targets.filter(|target| !target.is_empty() && !target.contains("://"));
        for target in files.filter(|target| !exists(target)) {
            let advice = format!("the link leads nowhere: there is no `{target}`");
            found.push(Violation::new(path, at + 1, advice));
        }
    }
}

/// Lengths, with what they belong to, held against a hard limit and one that 95 % keep.
pub fn lengths(
    what: &str,
    limits: (usize, usize),
    lengths: &[(String, usize, usize)],
    found: &mut Vec<Violation>,
) {
    let (hard, usual) = limits;
    let advice = |length: usize, limit: usize| {
        format!("{what} of {length} lines; the limit is {limit}: split it by what it does")
    };
    let mut over: Vec<_> = lengths.iter().filter(|(_, _, length)| *length > usual).collect();
    over.sort_by_key(|(_, _, length)| std::cmp::Reverse(*length));
    let too_many = over.len() * 20 > lengths.len();
    for (path, line, length) in over {
        if *length > hard {
            found.push(Violation::new(path, *line, advice(*length, hard)));
        } else if too_many {
            let advice = format!("{} (more than 5 % are longer than that)", advice(*length, usual));
            found.push(Violation::new(path, *line, advice));
        }
    }
}

/// Does the code contain `word` as a whole: `rand` is in `use rand::rngs`, not in `operand` or `x.rand_bits`?
fn has_word(code: &str, word: &str) -> bool {
    let whole = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word)
        .any(|(at, _)| whole(code[..at].chars().next_back()) && whole(code[at + word.len()..].chars().next()))
}

/// Does an absolute path that starts with `machine` occur? Not `crates/work/x` or `./work/x`.
fn has_path(line: &str, machine: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "._-~}*$".contains(c);
    line.match_indices(machine).any(|(at, _)| !line[..at].chars().next_back().is_some_and(goes_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_crate(krate: &str, ring: &str, source: &str) -> Vec<String> {
        let row = Row { line: 1, ring: ring.to_owned(), may_import: None };
        let mut found = Vec::new();
        code("x.rs", &Code::new(source), krate, Some(&row), &mut found);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_pure_crate_that_looks_at_the_clock_is_named_with_line_and_advice() {
        let found = in_crate("room", "pure", "fn f() {\n    let now = std::time::Instant::now();\n}\n");
        assert_eq!(
            found,
            ["x.rs:2: `Instant::now` in the pure crate `room`: take `now: Instant` as a parameter"]
        );
    }

    #[test]
    fn everything_impure_is_found() {
        for line in [
            "let t = SystemTime::now();",
            "std::thread::spawn(|| {});",
            "let x = rand::random();",
            "use rand::Rng;",
            "tokio::spawn(f);",
            "lock: std::sync::Mutex<u8>,",
            "lock: RwLock<u8>,",
            "let s = UdpSocket::bind(a);",
        ] {
            assert_eq!(in_crate("sfu", "pure", line).len(), 1, "{line}");
            assert_eq!(in_crate("worker", "shell", line).len(), 0, "{line}");
        }
    }

    #[test]
    fn tests_comments_text_and_longer_words_are_no_violation() {
        for source in [
            "#[cfg(test)]\nmod tests {\n    fn f() { let t = Instant::now(); }\n}\n",
            "// Instant::now is not called here\n",
            "let s = \"Mutex\";",
            "let operand = 1; let rand_bits = 2; let t = operand.random();",
        ] {
            assert_eq!(in_crate("rtc", "pure", source), [""; 0], "{source}");
        }
    }

    #[test]
    fn unsafe_and_protobuf_have_their_places() {
        assert_eq!(in_crate("worker", "shell", "unsafe { f() }").len(), 1);
        assert_eq!(in_crate("udp", "shell", "unsafe { f() }").len(), 0);
        assert_eq!(in_crate("worker", "shell", "#![deny(unsafe_code)]").len(), 0);
        assert_eq!(in_crate("control", "shell", "use livekit_protocol as proto;").len(), 1);
        assert_eq!(in_crate("livekit", "adapter", "use livekit_protocol as proto;").len(), 0);
    }

    fn in_text(source: &str) -> usize {
        let mut found = Vec::new();
        text("x.md", source, &mut found);
        found.len()
    }

    #[test]
    fn paths_of_a_machine_and_stray_white_space_are_found() {
        let path = |directory: &str| format!("see `{directory}x`\n").replace('%', "");
        assert_eq!(in_text(&path("/wo%rk/")), 1);
        assert_eq!(in_text(&path("/ho%me/")), 1);
        assert_eq!(in_text(&path("crates/wo%rk/")), 0);
        assert_eq!(in_text("trailing \n"), 1);
        assert_eq!(in_text("no end"), 1);
        assert_eq!(in_text("fine\n"), 0);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let mut found = Vec::new();
        let document =
            "[a](there.md), [b](https://x.org/y) and [c](#here)\n![d](gone.png) [e](there.md#part)\n";
        links("x.md", document, |target| target == "there.md", &mut found);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["x.md:2: the link leads nowhere: there is no `gone.png`"]);
    }

    fn too_long(all: &[usize]) -> usize {
        let all: Vec<_> = all.iter().map(|length| ("x.rs".to_owned(), 1, *length)).collect();
        let mut found = Vec::new();
        lengths("a function", FUNCTION_LINES, &all, &mut found);
        found.len()
    }

    #[test]
    fn a_long_function_is_allowed_when_rare_and_never_when_huge() {
        let mut all = vec![10; 39];
        all.push(100);
        assert_eq!(too_long(&all), 0, "1 of 40");
        all.extend([51, 60]);
        assert_eq!(too_long(&all), 3, "3 of 42 are more than 5 %");
        assert_eq!(too_long(&[vec![1; 99], vec![121]].concat()), 1);
    }
}
