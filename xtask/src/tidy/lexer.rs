//! Just enough of Rust's lexical structure for the rules: which bytes are code (neither comment nor literal), which
//! lines belong to tests, and where functions begin and end. A parser would know more and build far longer.

use std::ops::RangeInclusive;

/// The code of a Rust file: comments and the insides of literals are blanks, everything else stays in its place.
pub struct Code {
    bytes: Vec<u8>,
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
    tests: Vec<RangeInclusive<usize>>,
    test_modules: Vec<String>,
}

/// A function: its name and its lines, counted from 1, from the `fn` to the closing brace.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub first: usize,
    pub last: usize,
}

impl Function {
    pub fn len(&self) -> usize {
        self.last - self.first + 1
    }
}

impl Code {
    pub fn new(text: &str) -> Self {
        let bytes = mask(text.as_bytes());
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        let mut code = Self { bytes, lines, tests: Vec::new(), test_modules: Vec::new() };
        code.find_tests();
        code
    }

    /// Modules that this file declares for tests alone (`#[cfg(test)] mod name;`).
    pub fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// Is this line (from 1) part of an item under `#[cfg(test)]`?
    pub fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }

    /// How many lines there are apart from tests.
    pub fn lines_without_tests(&self) -> usize {
        let whole = self.lines.iter().take_while(|start| **start < self.bytes.len()).count();
        (1..=whole).filter(|line| !self.is_test(*line)).count()
    }

    /// The lines (from 1) with their code.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        // The mask writes ASCII over everything that is not code, and code that is not ASCII stays whole.
        let text = std::str::from_utf8(&self.bytes).unwrap_or_default();
        text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Every function with a body, in order of appearance. Closures belong to the function around them.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(start) = self.word(b"fn", at) {
            at = start + 2;
            let name = self.identifier(at);
            // `fn(u8)` is a type.
            let Some(end) = (!name.is_empty()).then(|| self.item_end(at)).flatten() else { continue };
            if self.bytes[end] == b'}' {
                found.push(Function { name, first: self.line(start), last: self.line(end) });
            }
        }
        found
    }

    fn find_tests(&mut self) {
        let mut at = 0;
        while let Some(start) = find(&self.bytes, b"#[cfg(", at) {
            let close = self.closing(start + 1).unwrap_or(self.bytes.len() - 1);
            at = close + 1;
            let condition = String::from_utf8_lossy(&self.bytes[start..=close]).replace(' ', "");
            let words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.clone().any(|word| word == "test") && !condition.contains("not(test)") {
                let end = self.item_end(at).unwrap_or(self.bytes.len() - 1);
                let item = String::from_utf8_lossy(&self.bytes[at..=end]).into_owned();
                self.test_modules.extend(declared_module(&item));
                self.tests.push(self.line(start)..=self.line(end));
                at = end + 1;
            }
        }
    }

    /// Where the item that starts at `at` ends: at a `;` outside of all brackets, or at the brace that closes its body.
    fn item_end(&self, mut at: usize) -> Option<usize> {
        while at < self.bytes.len() {
            match self.bytes[at] {
                b';' => return Some(at),
                b'{' => return self.closing(at),
                b'(' | b'[' => at = self.closing(at)?,
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for (at, byte) in self.bytes.iter().enumerate().skip(open) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => continue,
            }
            if depth == 0 {
                return Some(at);
            }
        }
        None
    }

    fn word(&self, word: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while let Some(start) = find(&self.bytes, word, at) {
            let before = start.checked_sub(1).map(|i| self.bytes[i]);
            let after = self.bytes.get(start + word.len()).copied();
            if !before.is_some_and(is_word) && !after.is_some_and(is_word) {
                return Some(start);
            }
            at = start + 1;
        }
        None
    }

    fn identifier(&self, at: usize) -> String {
        let bytes = self.bytes[at..].iter().skip_while(|b| b.is_ascii_whitespace());
        let name = bytes.take_while(|b| is_word(**b)).copied().collect();
        String::from_utf8(name).unwrap_or_default()
    }

    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|start| *start <= at)
    }
}

fn declared_module(item: &str) -> Option<String> {
    let (_, name) = item.strip_suffix(';')?.rsplit_once("mod ")?;
    Some(name.trim().to_owned())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| at + from)
}

/// Blanks comments and the insides of literals.
fn mask(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let mut at = 0;
    while at < text.len() {
        let end = at
            + match text[at] {
                b'/' if text[at..].starts_with(b"//") => line_comment(&text[at..]),
                b'/' if text[at..].starts_with(b"/*") => block_comment(&text[at..]),
                b'"' => string(&text[at..]),
                b'\'' => character(&text[at..]),
                b'r' if at == 0 || !is_word(text[at - 1]) || ends_prefix(text, at) => raw_string(&text[at..]),
                _ => 1,
            };
        let end = end.min(text.len());
        if end > at + 1 {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    out
}

/// `br"…"` and `cr"…"`: the `r` may follow one letter that is a whole word's start.
fn ends_prefix(text: &[u8], at: usize) -> bool {
    matches!(text[at - 1], b'b' | b'c') && (at < 2 || !is_word(text[at - 2]))
}

fn line_comment(text: &[u8]) -> usize {
    text.iter().position(|b| *b == b'\n').unwrap_or(text.len())
}

fn block_comment(text: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at + 1 < text.len() {
        match &text[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

fn string(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// A character literal, or the single quote of a lifetime or label.
fn character(text: &[u8]) -> usize {
    if text.get(1) == Some(&b'\\') {
        let close = text.iter().skip(3).position(|b| *b == b'\'');
        return close.map_or(1, |at| at + 4);
    }
    // One character of one to four bytes, then the closing quote.
    let first = text.get(1).copied().unwrap_or(0);
    let width = match first {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    };
    if text.get(1 + width) == Some(&b'\'') { width + 2 } else { 1 }
}

/// `r"…"` or `r#"…"#` with any number of marks; 1 for anything else that starts with an `r`.
fn raw_string(text: &[u8]) -> usize {
    let marks = text[1..].iter().take_while(|b| **b == b'#').count();
    if text.get(1 + marks) != Some(&b'"') {
        return 1;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', marks)).collect();
    find(text, &close, marks + 2).map_or(text.len(), |at| at + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, usize, usize)> {
        Code::new(text).functions().into_iter().map(|f| (f.name, f.first, f.last)).collect()
    }

    #[test]
    fn braces_and_keywords_in_literals_and_comments_are_no_code() {
        let text = r####"
fn a() {
    let s = "fn x() { \" }"; // fn y() {
    let r = r#"fn "z() {"#; /* fn /* nested */ { */
    let c = '{'; let e = '\''; let u = '\u{7b}'; let w = 'ö'; let b = br"{";
    let life: &'static str = "";
}
fn b<'a>(x: &'a [u8; 2]) -> fn(u8) -> u8 { todo() }
"####;
        assert_eq!(names(text), [("a".to_owned(), 2, 7), ("b".to_owned(), 8, 8)]);
    }

    #[test]
    fn a_function_without_a_body_has_no_length() {
        assert_eq!(names("trait T { fn f(&self) -> [u8; 3]; fn g() {\n} }"), [("g".to_owned(), 1, 2)]);
    }

    #[test]
    fn lines_of_tests_are_told_apart() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let code = Code::new(text);
        let tests: Vec<usize> = (1..=6).filter(|line| code.is_test(*line)).collect();
        assert_eq!(tests, [2, 3, 4, 5]);
        assert_eq!(code.lines_without_tests(), 2);
        assert!(!Code::new("#[cfg(not(test))]\nfn a() {}\n").is_test(2));
        assert!(Code::new("#[cfg(any(test, feature = \"x\"))]\nfn a() {}\n").is_test(2));
    }

    #[test]
    fn a_module_file_for_tests_is_found_by_its_declaration() {
        let code = Code::new("mod real;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod netem;\n");
        assert_eq!(code.test_modules(), ["tests", "netem"]);
    }

    #[test]
    fn bytes_that_are_no_rust_do_not_panic() {
        for text in
            ["'", "\"", "r#", "/*", "fn", "fn f", "fn f() {", "'\\", "#[cfg(", "#[cfg(test)]", "\u{1F600}'"]
        {
            let code = Code::new(text);
            code.functions();
            code.lines_without_tests();
        }
    }
}
