//! Which requirements are met, where, and which are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::annotation::{self, Annotation};
use super::exception::{Exception, Kind};
use super::requirement::{Index, Level, Requirements};

/// What is known of one requirement.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Code that meets it: `file:line`.
    pub(crate) code: Vec<String>,
    /// Tests that show it.
    pub(crate) tests: Vec<String>,
    /// Why there is none of both.
    pub(crate) exception: Option<(Kind, String)>,
}

/// What a requirement counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Cited at a test, mostly at code as well.
    Tested,
    /// Cited at code alone.
    Met,
    /// Binds others, or those that do what we do not.
    Excepted,
    /// Not met, and the reason is known.
    Unmet,
    /// Nobody has said anything about it.
    Unknown,
}

/// The evidence for each requirement.
#[derive(Debug)]
pub(crate) struct Coverage<'r> {
    pub(crate) requirements: &'r Requirements,
    pub(crate) evidence: BTreeMap<Index, Evidence>,
    /// Citations and exceptions that are wrong, each with its place.
    pub(crate) errors: Vec<String>,
}

impl Evidence {
    pub(crate) fn status(&self) -> Status {
        match (&self.exception, self.code.is_empty(), self.tests.is_empty()) {
            (_, _, false) => Status::Tested,
            (_, false, true) => Status::Met,
            (Some((Kind::Unmet, _)), true, true) => Status::Unmet,
            (Some(_), true, true) => Status::Excepted,
            (None, true, true) => Status::Unknown,
        }
    }
}

impl<'r> Coverage<'r> {
    /// Nothing known yet.
    pub(crate) fn new(requirements: &'r Requirements) -> Self {
        let evidence = requirements.indices().map(|index| (index, Evidence::default())).collect();
        Self { requirements, evidence, errors: Vec::new() }
    }

    /// Adds the citations of a source file.
    pub(crate) fn add_source(&mut self, path: &Path, source: &str) {
        for found in annotation::parse(path, source) {
            match found {
                Ok(annotation) => self.add_annotation(path, &annotation),
                Err(malformed) => self.errors.push(format!("{}:{}: {}", path.display(), malformed.line, malformed.why)),
            }
        }
    }

    fn add_annotation(&mut self, path: &Path, annotation: &Annotation) {
        let place = format!("{}:{}", path.display(), annotation.line);
        match self.requirements.find(&annotation.section, &annotation.quote) {
            Ok(found) => {
                for index in found {
                    let evidence = self.evidence.entry(index).or_default();
                    if annotation.is_test { &mut evidence.tests } else { &mut evidence.code }.push(place.clone());
                }
            }
            Err(error) => self.errors.push(format!("{place}: {error}")),
        }
    }

    /// Adds the exceptions, after all citations: what is cited needs none.
    pub(crate) fn add_exceptions(&mut self, path: &Path, exceptions: &[Exception]) {
        for exception in exceptions {
            let place = format!("{}:{}", path.display(), exception.line);
            let found = match &exception.quote {
                Some(quote) => self.requirements.find(&exception.section, quote),
                None => Ok(self.within(&exception.section)),
            };
            let found = match found {
                Ok(found) if found.is_empty() => {
                    self.errors.push(format!("{place}: section {} has no MUST or SHOULD", exception.section));
                    continue;
                }
                Ok(found) => found,
                Err(error) => {
                    self.errors.push(format!("{place}: {error}"));
                    continue;
                }
            };
            for index in found {
                let evidence = self.evidence.entry(index).or_default();
                let cited = evidence.code.first().or(evidence.tests.first());
                if let Some(cited) = cited {
                    if exception.quote.is_some() {
                        self.errors.push(format!("{place}: needs no exception, for it is cited at {cited}"));
                    }
                } else if evidence.exception.is_some() {
                    self.errors.push(format!("{place}: has an exception already"));
                } else {
                    evidence.exception = Some((exception.kind, exception.reason.clone()));
                }
            }
        }
    }

    /// The requirements of a section and its subsections.
    pub(crate) fn within(&self, section: &str) -> Vec<Index> {
        let subsection = format!("{section}.");
        let number = |index: &Index| &self.requirements.sections[index.0].number;
        let is_within = |index: &Index| number(index) == section || number(index).starts_with(&subsection);
        self.requirements.indices().filter(is_within).collect()
    }

    /// The requirements of a level that nobody has said anything about.
    pub(crate) fn unknown(&self, level: Level) -> impl Iterator<Item = Index> {
        let is_unknown = move |index: &Index| self.requirements.level(*index) == level;
        let unknown = self.evidence.iter().filter(|(_, evidence)| evidence.status() == Status::Unknown);
        unknown.map(|(index, _)| *index).filter(is_unknown)
    }
}

/// Reads all source files below some folders, in order of their names.
pub(crate) fn sources(root: &Path, folders: &[&str]) -> std::io::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path)?;
                found.push((path.strip_prefix(root).unwrap_or(&path).to_owned(), source));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc::exception;

    const REQUIREMENTS: &str = "\
6.  Data
    You MUST send, SHOULD wait, and MUST NOT cry.

6.1.  More
    It MUST be.
    It SHOULD be nice.

61.  Other
    That MUST be.
";

    /// The errors, and the status of each requirement, in order.
    fn covered(path: &str, source: &str, exceptions: &str) -> (Vec<String>, Vec<Status>) {
        let requirements = Requirements::parse(REQUIREMENTS).unwrap();
        let mut coverage = Coverage::new(&requirements);
        // The mark is written so that this file has no citations of its own.
        coverage.add_source(Path::new(path), &source.replace('@', "//="));
        coverage.add_exceptions(Path::new("x.txt"), &exception::parse(exceptions).unwrap());
        let status = coverage.evidence.values().map(Evidence::status).collect();
        (coverage.errors, status)
    }

    #[test]
    fn what_is_cited_is_met_and_what_a_test_cites_is_tested() {
        use Status::{Met, Tested, Unknown};
        let (errors, status) = covered("a.rs", "@ RFC 9260 §6: \"You MUST send … MUST NOT cry\"\n", "");
        assert_eq!((errors.len(), status), (0, vec![Met, Unknown, Met, Unknown, Unknown, Unknown]));
        let (errors, status) = covered("tests.rs", "@ test RFC 9260 §6.1: \"It MUST be.\"\n", "");
        assert_eq!((errors.len(), status), (0, vec![Unknown, Unknown, Unknown, Tested, Unknown, Unknown]));
    }

    #[test]
    fn an_exception_covers_one_requirement_or_a_section_but_what_is_cited_there() {
        use Status::{Excepted, Met, Unknown, Unmet};
        let cited = "@ RFC 9260 §6: \"SHOULD wait\"\n";
        let (errors, status) = covered("a.rs", cited, "others §6.*\n    IANA\n");
        assert_eq!((errors.len(), status), (0, vec![Excepted, Met, Excepted, Excepted, Excepted, Unknown]));
        let (errors, status) = covered("a.rs", "", "unmet §6.1: \"SHOULD be nice\"\n    Hard.\n");
        assert_eq!((errors.len(), status), (0, vec![Unknown, Unknown, Unknown, Unknown, Unmet, Unknown]));
    }

    #[test]
    fn errors_name_their_place() {
        let errors = |source: &str, exceptions: &str| covered("a.rs", source, exceptions).0;
        assert_eq!(errors("\n@ RFC 9260 §6: \"You MUST fly\"", ""), ["a.rs:2: no requirement of section 6 reads so"]);
        assert_eq!(errors("@ RFC 9260 §6 \"You MUST\"", ""), ["a.rs:1: the section ends with a colon and a space"]);
        assert_eq!(
            errors("@ RFC 9260 §6.1: \"It MUST be.\"", "unmet §6.1: \"It MUST\"\n    Hard.\n"),
            ["x.txt:1: needs no exception, for it is cited at a.rs:1"]
        );
        assert_eq!(
            errors("", "unmet §6.1: \"It MUST\"\n    Hard.\n\nothers §6.1: \"It MUST\"\n    Easy.\n"),
            ["x.txt:4: has an exception already"]
        );
        assert_eq!(errors("", "others §7.*\n    IANA\n"), ["x.txt:1: section 7 has no MUST or SHOULD"]);
    }

    #[test]
    fn subsections_are_those_behind_a_dot() {
        let requirements = Requirements::parse(REQUIREMENTS).unwrap();
        let coverage = Coverage::new(&requirements);
        assert_eq!(coverage.within("6").len(), 5);
        assert_eq!(coverage.within("6.1").len(), 2);
        assert_eq!(coverage.unknown(Level::Must).count(), 4);
        assert_eq!(coverage.unknown(Level::Should).count(), 2);
    }

    #[test]
    fn sources_are_rust_files_but_not_what_was_built() {
        let root = tempfile::tempdir().unwrap();
        for file in ["a/x.rs", "a/b/y.rs", "a/target/z.rs", "a/x.toml", "c/w.rs"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let found: Vec<_> = sources(root.path(), &["a"]).unwrap();
        assert_eq!(found, [(PathBuf::from("a/b/y.rs"), "a/b/y.rs".into()), (PathBuf::from("a/x.rs"), "a/x.rs".into())]);
    }
}
