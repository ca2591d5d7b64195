//! Makes the list of requirements from the text of an RFC, so that nobody has to trust the list.

use anyhow::{Result, ensure};

use super::requirement::{Requirements, Section, Sentence};

/// The section that only says what the words mean.
const CONVENTIONS: &str = "2";

/// Words whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 6] = ["i.e.", "e.g.", "a.k.a.", "et al.", "vs.", "cf."];

/// The requirements in the text of an RFC, as the RFC Editor publishes it.
///
/// # Errors
/// If there are keywords in the text that did not get into the list.
pub(crate) fn extract(text: &str) -> Result<Requirements> {
    let mut sections: Vec<Section> = Vec::new();
    let mut keywords_read = 0;
    let mut counted = true;
    for block in blocks(&without_page_breaks(text)) {
        if let Some((number, title)) = heading(&block) {
            counted = number != CONVENTIONS;
            sections.push(Section { number, title, sentences: Vec::new() });
            continue;
        }
        let Some(section) = sections.last_mut().filter(|_| counted) else { continue };
        keywords_read += Sentence::new(block.join(" ")).map_or(0, |all| all.keywords.len());
        for paragraph in paragraphs(&block) {
            section.sentences.extend(sentences(&paragraph).into_iter().filter_map(Sentence::new));
        }
    }
    sections.retain(|section| !section.sentences.is_empty());
    let requirements = Requirements { sections };
    let kept = requirements.count();
    ensure!(kept > 0, "no MUST or SHOULD found: is this the text of an RFC?");
    ensure!(kept == keywords_read, "{keywords_read} MUSTs and SHOULDs in the text, but {kept} in the list");
    Ok(requirements)
}

/// The lines without form feeds, footers and headers of pages, and without the gaps that these leave within a sentence.
fn without_page_breaks(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = Vec::new();
    let mut broken = false;
    for line in text.lines().map(str::trim_end) {
        let line = line.trim_start_matches('\u{c}');
        let footer = line.ends_with(']') && line.contains("[Page ");
        let header = broken && line.starts_with("RFC ");
        if footer || header {
            broken = true;
        } else if !broken {
            lines.push(line);
        } else if !line.is_empty() {
            broken = false;
            while lines.last().is_some_and(|last| last.is_empty()) {
                lines.pop();
            }
            if lines.last().is_some_and(|last| last.ends_with(['.', ':', ';', '|', '+'])) {
                lines.push("");
            }
            lines.push(line);
        }
    }
    lines
}

/// The lines between blank lines.
fn blocks<'t>(lines: &[&'t str]) -> Vec<Vec<&'t str>> {
    lines.split(|line| line.is_empty()).filter(|block| !block.is_empty()).map(<[_]>::to_vec).collect()
}

/// The number and title of a section, if the block is its heading: it alone begins at the margin.
fn heading(block: &[&str]) -> Option<(String, String)> {
    let first = block[0];
    let (number, title) = first.split_once(".  ")?;
    let number = number.strip_prefix("Appendix ").unwrap_or(number);
    let is_number = number.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let is_letter = first.starts_with("Appendix ") && number.len() == 1;
    let title = [&[title], &block[1..]].concat();
    (is_number || is_letter).then(|| (number.to_owned(), join(&title).replace("  ", " ")))
}

/// The runs of text in a block: pictures and tables are left out, and a term is cut off from its definition, which is indented.
fn paragraphs(block: &[&str]) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut paragraphs: Vec<Vec<&str>> = vec![Vec::new()];
    for line in block.iter().filter(|line| !is_picture(line)) {
        let current = paragraphs.last_mut().expect("there is always one");
        let is_definition =
            current.last().is_some_and(|last| indent(last) < indent(line) && marker(last.trim_start()).is_none());
        let is_item = !current.is_empty() && marker(line.trim_start()).is_some_and(|m| m.starts_with('*'));
        if is_definition || is_item {
            paragraphs.push(Vec::new());
        }
        paragraphs.last_mut().expect("there is always one").push(line);
    }
    paragraphs.iter().filter(|lines| !lines.is_empty()).map(|lines| join(lines)).collect()
}

fn is_picture(line: &str) -> bool {
    let line = line.trim();
    line.starts_with(['|', '+', '\\', '/']) && !line.starts_with("+x^")
}

/// What numbers an item of a list: `*`, `A)`, `(1)`, `ICMP1)`.
fn marker(line: &str) -> Option<&str> {
    let (marker, _) = line.split_once(' ')?;
    let numbering = marker.strip_suffix(')').map(|of| of.trim_start_matches('('));
    let is_number = numbering.is_some_and(|of| {
        of.bytes().all(|b| b.is_ascii_alphanumeric()) && (of.len() == 1 || of.ends_with(|c: char| c.is_ascii_digit()))
    });
    (marker == "*" || is_number).then_some(marker)
}

/// Joins wrapped lines. A word that was broken at its hyphen or stroke is whole again; two spaces after a sentence stay.
fn join(lines: &[&str]) -> String {
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let line = line.trim();
        let line =
            if index == 0 { marker(line).map_or(line, |marker| line[marker.len()..].trim_start()) } else { line };
        let broken_word = text.ends_with(['-', '/']) && !text.ends_with(" -");
        if !text.is_empty() && !broken_word {
            text.push(' ');
        }
        text.push_str(line);
    }
    text
}

/// The sentences of a paragraph. One ends at a full stop before a space and a capital, unless the stop is an abbreviation's.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (at, _) in paragraph.match_indices(' ') {
        let (before, after) = (paragraph[start..at].trim_end_matches([')', '"', '\'']), paragraph[at..].trim_start());
        let ends = before.ends_with(['.', '?', '!']) && !ABBREVIATIONS.iter().any(|word| before.ends_with(word));
        let begins = after.trim_start_matches(['(', '"', '\'', '[']).starts_with(|c: char| c.is_ascii_uppercase());
        if ends && begins {
            sentences.push(paragraph[start..at].to_owned());
            start = at;
        }
    }
    sentences.push(paragraph[start..].to_owned());
    sentences.iter().map(|sentence| sentence.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentences that come of a text under one heading.
    fn of(text: &str) -> Vec<String> {
        let requirements = extract(&format!("3.  Title\n\n{text}")).unwrap();
        requirements.sections[0].sentences.iter().map(|sentence| sentence.text.clone()).collect()
    }

    #[test]
    fn sentences_are_found_within_wrapped_lines() {
        let text = "   All integer fields MUST be sent in network\n   byte order.  More text.  The receiver MUST\n   NOT care.\n";
        assert_eq!(of(text), ["All integer fields MUST be sent in network byte order.", "The receiver MUST NOT care."]);
    }

    #[test]
    fn one_space_after_a_full_stop_is_enough() {
        assert_eq!(
            of("   It MUST have a zero Tag. The receiver\n   MUST see."),
            ["It MUST have a zero Tag.", "The receiver MUST see."]
        );
    }

    #[test]
    fn abbreviations_numbers_and_brackets_end_no_sentence() {
        for text in [
            "The sum, i.e. The total, MUST be 0.",
            "See Section 3.2.1 and SHOULD do so, as in 'RTO.Min' of 1.5 seconds.",
            "(It MUST be so.)",
        ] {
            assert_eq!(of(&format!("   {text}")), [text]);
        }
        assert_eq!(
            of("   It MUST (see above.)  Then it \"MUST.\"  It MUST."),
            ["It MUST (see above.)", "Then it \"MUST.\"", "It MUST."]
        );
    }

    #[test]
    fn words_broken_at_a_hyphen_are_whole_again_and_a_minus_stays() {
        assert_eq!(
            of("   In order-of-\n   transmission it MUST be 2^32 -\n   1 or less."),
            ["In order-of-transmission it MUST be 2^32 - 1 or less."]
        );
    }

    #[test]
    fn items_of_a_list_lose_their_marker() {
        let text = "   *  A packet MUST\n      go.\n\n   A)  It SHOULD\n       stay.\n\n   (1)  It MUST\n        be.\n\n   ICMP3)  A message\n      MUST be.\n\n   *  One MUST.\n   *  Two MUST\n      be.\n";
        assert_eq!(
            of(text),
            ["A packet MUST go.", "It SHOULD stay.", "It MUST be.", "A message MUST be.", "One MUST.", "Two MUST be."]
        );
    }

    #[test]
    fn a_term_is_cut_off_from_its_definition() {
        assert_eq!(
            of("   Checksum: 32 bits (unsigned integer)\n      It MUST be\n      right.\n"),
            ["It MUST be right."]
        );
        assert_eq!(
            of("   Length, which\n   goes on: 16 bits\n      It MUST be\n      right.\n"),
            ["It MUST be right."]
        );
    }

    #[test]
    fn pictures_and_tables_are_left_out() {
        assert_eq!(of("   +---+\n   | a |\n   +---+\n\n   It MUST be.\n"), ["It MUST be."]);
        let error = extract("3.  Title\n\n   +------+\n   | MUST |\n   +------+\n\n   It MUST be.\n").unwrap_err();
        assert_eq!(error.to_string(), "2 MUSTs and SHOULDs in the text, but 1 in the list");
    }

    #[test]
    fn headings_may_wrap_and_conventions_do_not_count() {
        let text = "   1.  Contents\n\n2.  Conventions\n\n   \"MUST\" means it.\n\n2.1.  Long\n      Title\n\n   It MUST.\n\nAppendix A.  More\n\n   It SHOULD.\n";
        let requirements = extract(text).unwrap();
        let titles: Vec<_> = requirements.sections.iter().map(|s| (&*s.number, &*s.title)).collect();
        assert_eq!(titles, [("2.1", "Long Title"), ("A", "More")]);
    }

    #[test]
    fn a_page_break_within_a_sentence_is_no_gap() {
        let text = "   The sender MUST\n\n\n\nStewart, et al.     Standards Track      [Page 5]\n\u{c}\nRFC 9260     SCTP     June 2022\n\n\n   go on.  Then it ends.\n\n\nStewart     [Page 6]\n\u{c}\nRFC 9260     SCTP     June 2022\n\n   Another MUST.\n";
        assert_eq!(of(text), ["The sender MUST go on.", "Another MUST."]);
    }

    #[test]
    fn what_is_no_rfc_is_refused() {
        assert!(extract("Hello.\n").is_err());
    }
}
