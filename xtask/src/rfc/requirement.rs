//! What a specification requires: its sentences that hold a MUST or SHOULD, section by section.

use std::fmt::{self, Write as _};
use std::ops::Range;

use anyhow::{Context, Result, ensure};

/// How strongly a requirement binds (RFC 2119). MAY and OPTIONAL bind nobody and are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// MUST, MUST NOT, REQUIRED, SHALL, SHALL NOT.
    Must,
    /// SHOULD, SHOULD NOT, RECOMMENDED, NOT RECOMMENDED.
    Should,
}

/// The words that make a requirement. Their negations are found with them.
const KEYWORDS: [(&str, Level); 5] = [
    ("MUST", Level::Must),
    ("REQUIRED", Level::Must),
    ("SHALL", Level::Must),
    ("SHOULD", Level::Should),
    ("RECOMMENDED", Level::Should),
];

/// One MUST or SHOULD: what is counted, met and tested. A sentence may hold several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyword {
    /// Where in its sentence, with its NOT.
    pub(crate) at: Range<usize>,
    pub(crate) level: Level,
}

/// A sentence with at least one keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// On one line, with single spaces.
    pub(crate) text: String,
    /// In the order of the text.
    pub(crate) keywords: Vec<Keyword>,
}

/// A section that has requirements of its own, its subsections not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// As it is cited: `6.1`, `A`.
    pub(crate) number: String,
    pub(crate) title: String,
    pub(crate) sentences: Vec<Sentence>,
}

/// A place in a [`Requirements`]: section, sentence, keyword.
pub(crate) type Index = (usize, usize, usize);

/// All that a specification requires.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    pub(crate) sections: Vec<Section>,
}

/// Why a quotation stands for no requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QuoteError {
    #[error("section {0} has no MUST or SHOULD")]
    NoSection(String),
    #[error("no requirement of section {section} reads so{}", .elsewhere.as_ref().map(|at| format!("; section {at} has one")).unwrap_or_default())]
    NoMatch { section: String, elsewhere: Option<String> },
    #[error("{0} different requirements of the section read so: quote more")]
    Ambiguous(usize),
    #[error("the words quoted hold no MUST or SHOULD of their sentence: quote them, too")]
    NoKeyword,
}

impl Sentence {
    /// A sentence, if it holds a keyword.
    pub(crate) fn new(text: String) -> Option<Self> {
        let keywords = keywords(&text);
        (!keywords.is_empty()).then_some(Self { text, keywords })
    }

    /// The keywords within a quotation of this sentence, whose words may be left out at each "…". None if it does not read so.
    fn quoted(&self, quote: &str) -> Option<Vec<usize>> {
        let mut from = 0;
        let mut ranges = Vec::new();
        for fragment in quote.split('…').map(str::trim).filter(|fragment| !fragment.is_empty()) {
            let start = from + self.text.get(from..)?.find(fragment)?;
            from = start + fragment.len();
            ranges.push(start..from);
        }
        let within = |keyword: &Keyword| ranges.iter().any(|r| r.start <= keyword.at.start && keyword.at.end <= r.end);
        (!ranges.is_empty()).then(|| (0..self.keywords.len()).filter(|&at| within(&self.keywords[at])).collect())
    }
}

/// Where the keywords of a sentence are.
fn keywords(text: &str) -> Vec<Keyword> {
    let mut found = Vec::new();
    let mut words = words(text).peekable();
    let mut before: Option<Range<usize>> = None;
    while let Some(word) = words.next() {
        let level = KEYWORDS.iter().find(|(keyword, _)| *keyword == &text[word.clone()]).map(|(_, level)| *level);
        if let Some(level) = level {
            let is_not = |range: &Range<usize>| &text[range.clone()] == "NOT";
            let start = before.filter(is_not).map_or(word.start, |not| not.start);
            let end = words.next_if(is_not).map_or(word.end, |not| not.end);
            found.push(Keyword { at: start..end, level });
        }
        before = Some(word);
    }
    found
}

/// Where the words of a text are.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text[from..].find(|c: char| c.is_ascii_alphabetic())?;
        let rest = &text[start..];
        from = start + rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        Some(start..from)
    })
}

impl Requirements {
    /// Reads what [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut sections: Vec<Section> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let read = || -> Result<()> {
                if line.is_empty() || line.starts_with('#') {
                    return Ok(());
                }
                if let Some(sentence) = line.strip_prefix("    ") {
                    let sentence = Sentence::new(sentence.to_owned()).context("a sentence without MUST or SHOULD")?;
                    sections.last_mut().context("a sentence before the first section")?.sentences.push(sentence);
                    return Ok(());
                }
                let (number, title) =
                    line.split_once(".  ").context("neither a section (`6.1.  Title`) nor a sentence")?;
                ensure!(sections.iter().all(|section| section.number != number), "section {number} twice");
                sections.push(Section { number: number.to_owned(), title: title.to_owned(), sentences: Vec::new() });
                Ok(())
            };
            let mut read = read;
            read().with_context(|| format!("line {}", number + 1))?;
        }
        Ok(Self { sections })
    }

    /// How many requirements there are.
    pub(crate) fn count(&self) -> usize {
        self.indices().count()
    }

    /// All requirements, in order.
    pub(crate) fn indices(&self) -> impl Iterator<Item = Index> {
        self.sections.iter().enumerate().flat_map(|(section, of)| {
            of.sentences
                .iter()
                .enumerate()
                .flat_map(move |(sentence, of)| (0..of.keywords.len()).map(move |keyword| (section, sentence, keyword)))
        })
    }

    /// The level of a requirement.
    pub(crate) fn level(&self, (section, sentence, keyword): Index) -> Level {
        self.sections[section].sentences[sentence].keywords[keyword].level
    }

    /// The requirements that a quotation of a section stands for: those keywords of one sentence that it quotes. A sentence that
    /// the section says twice is met by one quotation.
    pub(crate) fn find(&self, number: &str, quote: &str) -> Result<Vec<Index>, QuoteError> {
        let at = self.sections.iter().position(|section| section.number == number);
        let at = at.ok_or_else(|| QuoteError::NoSection(number.to_owned()))?;
        let matches: Vec<(usize, Vec<usize>)> = self.sections[at]
            .sentences
            .iter()
            .enumerate()
            .filter_map(|(index, sentence)| Some((index, sentence.quoted(quote)?)))
            .collect();
        let mut texts: Vec<&str> =
            matches.iter().map(|(index, _)| &*self.sections[at].sentences[*index].text).collect();
        texts.sort_unstable();
        texts.dedup();
        match texts.len() {
            0 => {
                let reads_so = |section: &&Section| section.sentences.iter().any(|s| s.quoted(quote).is_some());
                let elsewhere = self.sections.iter().find(reads_so).map(|section| section.number.clone());
                Err(QuoteError::NoMatch { section: number.to_owned(), elsewhere })
            }
            1 => {
                let found: Vec<Index> = matches
                    .into_iter()
                    .flat_map(|(sentence, keywords)| keywords.into_iter().map(move |keyword| (at, sentence, keyword)))
                    .collect();
                if found.is_empty() { Err(QuoteError::NoKeyword) } else { Ok(found) }
            }
            several => Err(QuoteError::Ambiguous(several)),
        }
    }
}

/// A section per heading, a sentence per indented line.
impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, section) in self.sections.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            writeln!(f, "{}.  {}", section.number, section.title)?;
            for sentence in &section.sentences {
                writeln!(f, "    {}", sentence.text)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# made by a tool

3.1.  Header
    The Port 0 MUST NOT be used.
    A receiver MUST discard the packet, SHOULD answer, and MUST NOT change the state.

A.  Appendix
    It is NOT RECOMMENDED to do so.
    It is NOT RECOMMENDED to do so.
    A receiver SHOULD be ready, but the MUSTARD is not REQUIRED.
";

    fn requirements() -> Requirements {
        Requirements::parse(TEXT).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let requirements = requirements();
        assert_eq!(requirements.count(), 8);
        assert_eq!(Requirements::parse(&requirements.to_string()).unwrap(), requirements);
    }

    #[test]
    fn keywords_are_whole_words_with_their_not() {
        let levels = |section: usize, sentence: usize| {
            let sentence = &requirements().sections[section].sentences[sentence];
            sentence.keywords.iter().map(|k| (sentence.text[k.at.clone()].to_owned(), k.level)).collect::<Vec<_>>()
        };
        let of = |text: &str, level| (text.to_owned(), level);
        assert_eq!(levels(0, 0), [of("MUST NOT", Level::Must)]);
        assert_eq!(levels(0, 1), [of("MUST", Level::Must), of("SHOULD", Level::Should), of("MUST NOT", Level::Must)]);
        assert_eq!(levels(1, 0), [of("NOT RECOMMENDED", Level::Should)]);
        assert_eq!(levels(1, 2), [of("SHOULD", Level::Should), of("REQUIRED", Level::Must)]);
    }

    #[test]
    fn a_quotation_stands_for_the_keywords_that_it_quotes() {
        let found = |section: &str, quote: &str| requirements().find(section, quote);
        assert_eq!(found("3.1", "The Port 0 MUST NOT be used."), Ok(vec![(0, 0, 0)]));
        assert_eq!(found("3.1", "MUST discard … MUST NOT change"), Ok(vec![(0, 1, 0), (0, 1, 2)]));
        assert_eq!(found("3.1", "… SHOULD answer …"), Ok(vec![(0, 1, 1)]));
        assert_eq!(found("A", "NOT RECOMMENDED"), Ok(vec![(1, 0, 0), (1, 1, 0)]), "the same sentence twice");
    }

    #[test]
    fn a_quotation_that_stands_for_nothing_says_why() {
        let refused = |section: &str, quote: &str| requirements().find(section, quote).unwrap_err();
        assert_eq!(refused("9", "The Port 0"), QuoteError::NoSection("9".into()));
        assert_eq!(
            refused("A", "The Port 0 MUST"),
            QuoteError::NoMatch { section: "A".into(), elsewhere: Some("3.1".into()) }
        );
        assert_eq!(refused("3.1", "The Port 1"), QuoteError::NoMatch { section: "3.1".into(), elsewhere: None });
        assert_eq!(refused("3.1", "MUST"), QuoteError::Ambiguous(2));
        assert_eq!(refused("3.1", "A receiver … the state."), QuoteError::NoKeyword);
        assert_eq!(refused("3.1", "…"), QuoteError::NoMatch { section: "3.1".into(), elsewhere: None });
        assert_eq!(
            refused("3.1", "SHOULD answer … MUST discard"),
            QuoteError::NoMatch { section: "3.1".into(), elsewhere: None },
            "the order counts"
        );
    }

    #[test]
    fn a_broken_list_names_its_line() {
        for (text, line) in
            [("    You MUST.", 1), ("1.  One\n    No keyword.", 2), ("1.  One\n1.  Again", 2), ("1 One", 1)]
        {
            let error = Requirements::parse(text).unwrap_err().to_string();
            assert_eq!(error, format!("line {line}"), "{text}");
        }
    }
}
