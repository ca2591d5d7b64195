//! Citations of requirements in the code: `//= RFC 9260 §6.1: "the data sender MUST NOT transmit new data …"`.

use std::path::Path;

/// The beginning of a line that cites.
const MARK: &str = "//=";
/// What all citations name. There is a list of requirements of this RFC alone.
const RFC: &str = "RFC 9260 §";
/// What a citation at a test begins with.
const TEST: &str = "test ";

/// One citation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// The line that it begins on, counted from 1.
    pub(crate) line: usize,
    /// It stands at a test of the requirement, not at the code that meets it.
    pub(crate) is_test: bool,
    pub(crate) section: String,
    /// Without the quotation marks.
    pub(crate) quote: String,
}

/// A line that looks like a citation and is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong with it.
    pub(crate) why: &'static str,
}

/// The citations in a source file, in order.
pub(crate) fn parse(path: &Path, source: &str) -> Vec<Result<Annotation, Malformed>> {
    let tests_from = tests_from(path, source);
    let mut lines = source.lines().map(|line| line.trim().strip_prefix(MARK).map(str::trim)).enumerate().peekable();
    let mut found = Vec::new();
    while let Some((index, cited)) = lines.next() {
        let Some(cited) = cited else { continue };
        let mut text = cited.to_owned();
        // A quotation goes on over lines of the same kind until it is closed.
        while !text.ends_with('"')
            && let Some((_, Some(more))) = lines.next_if(|(_, next)| next.is_some_and(|next| !next.contains(RFC)))
        {
            text.push(' ');
            text.push_str(more);
        }
        let line = index + 1;
        found.push(read(&text, line, tests_from <= index).map_err(|why| Malformed { line, why }));
    }
    found
}

/// The index of the first line that belongs to tests.
fn tests_from(path: &Path, source: &str) -> usize {
    let mut components = path.components().map(|component| component.as_os_str());
    if components.any(|name| name == "tests" || name == "tests.rs") {
        return 0;
    }
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let begins = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(begins).unwrap_or(usize::MAX)
}

/// Reads what stands behind the mark.
fn read(text: &str, line: usize, in_tests: bool) -> Result<Annotation, &'static str> {
    let (is_test, rest) = text.strip_prefix(TEST).map_or((false, text), |rest| (true, rest));
    let rest = rest.strip_prefix(RFC).ok_or("begin with `RFC 9260 §` or `test RFC 9260 §`")?;
    let (section, quote) = rest.split_once(": ").ok_or("the section ends with a colon and a space")?;
    let quote = quote.strip_prefix('"').and_then(|quote| quote.strip_suffix('"'));
    let quote = quote.ok_or("the quotation stands in quotation marks, and nothing behind them")?;
    match (is_test, in_tests) {
        (true, false) => return Err("`test` cites at a test, and this is none"),
        (false, true) => return Err("a test cites with `//= test RFC 9260 §`"),
        _ => {}
    }
    Ok(Annotation { line, is_test, section: section.to_owned(), quote: quote.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a file, in which the mark is written `@`, so that this file has no citations of its own.
    fn parsed(path: &str, source: &str) -> Vec<Result<Annotation, Malformed>> {
        parse(Path::new(path), &source.replace('@', MARK))
    }

    fn cited(line: usize, is_test: bool, section: &str, quote: &str) -> Result<Annotation, Malformed> {
        Ok(Annotation { line, is_test, section: section.into(), quote: quote.into() })
    }

    #[test]
    fn a_citation_names_section_and_words() {
        let source = "fn f() {\n    @ RFC 9260 §6.1: \"you MUST … go\"\n    g(); // @ not here\n    // = nor here\n}\n";
        assert_eq!(parsed("src/a.rs", source), [cited(2, false, "6.1", "you MUST … go")]);
    }

    #[test]
    fn a_quotation_may_take_several_lines() {
        let source = "@ RFC 9260 §6: \"you MUST\n@ go \"on\" and\n@ on\"\n@ RFC 9260 §A: \"It SHOULD\"\n";
        assert_eq!(
            parsed("a.rs", source),
            [cited(1, false, "6", "you MUST go \"on\" and on"), cited(4, false, "A", "It SHOULD")]
        );
    }

    #[test]
    fn tests_cite_as_tests() {
        let source = "@ test RFC 9260 §6: \"you MUST\"\n";
        for path in ["core/tests/a.rs", "src/tests/b.rs", "src/tests.rs", "tests/tests/x.rs"] {
            assert_eq!(parsed(path, source), [cited(1, true, "6", "you MUST")], "{path}");
        }
        let inline = format!(
            "#[cfg(test)]\nmod tests;\n@ RFC 9260 §6: \"a MUST\"\n#[cfg(test)]\nmod tests {{\n    {source}}}\n"
        );
        assert_eq!(parsed("src/a.rs", &inline), [cited(3, false, "6", "a MUST"), cited(6, true, "6", "you MUST")]);
    }

    #[test]
    fn what_is_no_citation_says_why() {
        for (path, source, line, why) in [
            ("a.rs", "\n@ rfc 9260 §6: \"you MUST\"", 2, "begin with `RFC 9260 §` or `test RFC 9260 §`"),
            ("a.rs", "@ RFC 4960 §6: \"you MUST\"", 1, "begin with `RFC 9260 §` or `test RFC 9260 §`"),
            ("a.rs", "@ RFC 9260 §6 \"you MUST\"", 1, "the section ends with a colon and a space"),
            ("a.rs", "@ RFC 9260 §6: you MUST", 1, "the quotation stands in quotation marks, and nothing behind them"),
            (
                "a.rs",
                "@ RFC 9260 §6: \"you MUST\nf()",
                1,
                "the quotation stands in quotation marks, and nothing behind them",
            ),
            (
                "a.rs",
                "@ RFC 9260 §6: \"you MUST\n@ RFC 9260 §7",
                1,
                "the quotation stands in quotation marks, and nothing behind them",
            ),
            ("a.rs", "@ test RFC 9260 §6: \"you MUST\"", 1, "`test` cites at a test, and this is none"),
            ("tests/a.rs", "@ RFC 9260 §6: \"you MUST\"", 1, "a test cites with `//= test RFC 9260 §`"),
        ] {
            assert_eq!(parsed(path, source)[0], Err(Malformed { line, why }), "{source}");
        }
    }
}
