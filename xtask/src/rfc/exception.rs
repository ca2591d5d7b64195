//! Requirements that no code of ours can be cited for, each with the reason.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

/// Why a requirement is not cited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// Binds somebody else: IANA, operators, authors of other documents.
    Others,
    /// Binds the application, which has what it needs for it.
    Application,
    /// Binds those that do what we do not do: an option not offered, or a permission not used.
    Inapplicable,
    /// Binds us, and we meet it up to a limit of ours.
    Limited,
    /// Binds us, and we do not meet it.
    Unmet,
}

/// A reason for one requirement or for all of a section and its subsections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    /// The line that it begins on, counted from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) section: String,
    /// None: the whole section.
    pub(crate) quote: Option<String>,
    pub(crate) reason: String,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Others => "others",
            Self::Application => "application",
            Self::Inapplicable => "inapplicable",
            Self::Limited => "limited",
            Self::Unmet => "unmet",
        })
    }
}

/// Reads a file of exceptions. Each is a line `kind §6.1: "quotation"`, or `kind §15.*` for a section with its subsections, and the
/// reason on indented lines below it. Lines that begin with `#` are comments.
pub(crate) fn parse(text: &str) -> Result<Vec<Exception>> {
    let mut exceptions: Vec<Exception> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(reason) = line.strip_prefix("    ") {
            let exception =
                exceptions.last_mut().with_context(|| format!("line {line_number}: a reason for nothing"))?;
            if !exception.reason.is_empty() {
                exception.reason.push(' ');
            }
            exception.reason.push_str(reason.trim());
            continue;
        }
        exceptions.push(read(line, line_number).with_context(|| format!("line {line_number}"))?);
    }
    if let Some(bare) = exceptions.iter().find(|exception| exception.reason.is_empty()) {
        bail!("line {}: give the reason on an indented line below", bare.line);
    }
    Ok(exceptions)
}

fn read(line: &str, number: usize) -> Result<Exception> {
    let (kind, rest) =
        line.split_once(" §").context("neither `kind §section: \"quotation\"` nor an indented reason")?;
    let kinds = || Kind::value_variants().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let kind = Kind::value_variants().iter().copied().find(|known| known.to_string() == kind);
    let kind = kind.with_context(|| format!("the kind is none of {}", kinds()))?;
    let (section, quote) = match rest.split_once(": ") {
        Some((section, quoted)) => {
            let quote = quoted.strip_prefix('"').and_then(|quote| quote.strip_suffix('"'));
            (section, Some(quote.context("the quotation stands in quotation marks")?.to_owned()))
        }
        None => (rest.strip_suffix(".*").context("quote one requirement, or end with `.*` for all")?, None),
    };
    ensure!(!section.is_empty(), "name the section");
    Ok(Exception { line: number, kind, section: section.to_owned(), quote, reason: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_has_a_kind_a_place_and_a_reason() {
        let text = "# comment\n\nothers §15.*\n    IANA\n    does it.\n\nunmet §6.1: \"it MUST be\"\n    Nobody did.\n";
        let read = parse(text).unwrap();
        assert_eq!(
            read,
            [
                Exception {
                    line: 3,
                    kind: Kind::Others,
                    section: "15".into(),
                    quote: None,
                    reason: "IANA does it.".into()
                },
                Exception {
                    line: 7,
                    kind: Kind::Unmet,
                    section: "6.1".into(),
                    quote: Some("it MUST be".into()),
                    reason: "Nobody did.".into()
                },
            ]
        );
    }

    #[test]
    fn what_is_no_exception_is_refused_with_its_line() {
        for (text, error) in [
            ("    reason", "line 1: a reason for nothing"),
            ("others §15.*\nunmet §6: \"x\"\n    y", "line 1: give the reason on an indented line below"),
            ("nobody §15.*\n    y", "line 1: the kind is none of others, application, inapplicable, limited, unmet"),
            ("others §15\n    y", "line 1: quote one requirement, or end with `.*` for all"),
            ("others §15: MUST\n    y", "line 1: the quotation stands in quotation marks"),
            ("others 15", "line 1: neither `kind §section: \"quotation\"` nor an indented reason"),
        ] {
            assert_eq!(format!("{:#}", parse(text).unwrap_err()), error, "{text}");
        }
    }
}
