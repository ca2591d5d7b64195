//! Coverage as tables and lists.

use anyhow::{Result, bail};
use tabled::builder::Builder;
use tabled::settings::Style;

use super::coverage::{Coverage, Status};
use super::requirement::{Index, Level};

/// Which lists to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) unmet: bool,
    pub(crate) untested: bool,
    pub(crate) excepted: bool,
}

/// How many requirements of a level have each status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    all: usize,
    met: usize,
    tested: usize,
    excepted: usize,
    unmet: usize,
}

impl Shown {
    pub(crate) fn any(self) -> bool {
        self.unmet || self.untested || self.excepted
    }
}

impl Count {
    fn of(coverage: &Coverage<'_>, level: Level, indices: impl Iterator<Item = Index>) -> Self {
        let mut count = Self::default();
        for index in indices.filter(|index| coverage.requirements.level(*index) == level) {
            count.all += 1;
            match coverage.evidence[&index].status() {
                Status::Tested => {
                    count.met += 1;
                    count.tested += 1;
                }
                Status::Met => count.met += 1,
                Status::Excepted => count.excepted += 1,
                Status::Unmet | Status::Unknown => count.unmet += 1,
            }
        }
        count
    }

    fn cells(self) -> [String; 5] {
        [self.all, self.met, self.tested, self.excepted, self.unmet]
            .map(|n| if n == 0 { "·".into() } else { n.to_string() })
    }
}

/// A line per section, and the sums.
pub(crate) fn print_table(coverage: &Coverage<'_>) {
    let mut table = Builder::default();
    let columns = ["met", "tested", "excepted", "unmet"];
    table.push_record(["§", "section", "MUST"].into_iter().chain(columns).chain(["SHOULD"]).chain(columns));
    let mut push = |number: &str, title: &str, indices: &[Index]| {
        let cells =
            [Level::Must, Level::Should].map(|level| Count::of(coverage, level, indices.iter().copied()).cells());
        let title: String = title.chars().take(44).collect();
        table.push_record([number.to_owned(), title].into_iter().chain(cells.into_iter().flatten()));
    };
    for (at, section) in coverage.requirements.sections.iter().enumerate() {
        let indices: Vec<Index> = coverage.requirements.indices().filter(|index| index.0 == at).collect();
        push(&section.number, &section.title, &indices);
    }
    push("", "all", &coverage.requirements.indices().collect::<Vec<_>>());
    println!("{}", table.build().with(Style::sharp()));
    println!(
        "met: cited at code or a test; tested: cited at a test; excepted, unmet: `--excepted`, `--unmet` list them with reasons"
    );
}

/// A line per level.
pub(crate) fn print_sums(coverage: &Coverage<'_>) {
    for (level, name) in [(Level::Must, "MUST"), (Level::Should, "SHOULD")] {
        let Count { all, met, tested, excepted, unmet } = Count::of(coverage, level, coverage.requirements.indices());
        println!("RFC 9260 {name:<6}: {all} in all, {met} met ({tested} tested), {excepted} excepted, {unmet} unmet");
    }
}

/// The requirements that `shown` names, with their sections.
pub(crate) fn print_lists(coverage: &Coverage<'_>, shown: Shown) {
    let mut before = None;
    for index in coverage.requirements.indices() {
        let evidence = &coverage.evidence[&index];
        let is_shown = match evidence.status() {
            Status::Tested => false,
            Status::Met => shown.untested,
            Status::Excepted => shown.excepted,
            Status::Unmet | Status::Unknown => shown.unmet,
        };
        if is_shown {
            print_requirement(coverage, index, &mut before);
        }
    }
    print_sums(coverage);
}

/// All requirements of a section and its subsections.
///
/// # Errors
/// If there are none.
pub(crate) fn print_section(coverage: &Coverage<'_>, section: &str) -> Result<()> {
    let section = section.trim_start_matches('§');
    let indices = coverage.within(section);
    if indices.is_empty() {
        bail!("section {section} has no MUST or SHOULD");
    }
    let mut before = None;
    for index in indices {
        print_requirement(coverage, index, &mut before);
    }
    Ok(())
}

/// A requirement with its evidence, under the title of its section unless the one before had the same.
fn print_requirement(coverage: &Coverage<'_>, index: Index, before: &mut Option<usize>) {
    let section = &coverage.requirements.sections[index.0];
    if before.replace(index.0) != Some(index.0) {
        println!("\n§{} {}", section.number, section.title);
    }
    let sentence = &section.sentences[index.1];
    let at = &sentence.keywords[index.2].at;
    let (head, tail) = (&sentence.text[..at.start], &sentence.text[at.end..]);
    println!("  {head}>{}<{tail}", &sentence.text[at.clone()]);
    let evidence = &coverage.evidence[&index];
    for place in &evidence.code {
        println!("      met at {place}");
    }
    for place in &evidence.tests {
        println!("      tested at {place}");
    }
    match (&evidence.exception, evidence.status()) {
        (Some((kind, reason)), _) => println!("      {kind}: {reason}"),
        (None, Status::Unknown) => println!("      neither cited nor excepted"),
        (None, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rfc::exception;
    use crate::rfc::requirement::Requirements;

    #[test]
    fn each_requirement_is_counted_once_in_all_and_once_in_a_column() {
        let text = "1.  One\n    It MUST a.\n    It MUST b.\n    It MUST c.\n    It MUST d.\n    It SHOULD e.\n";
        let requirements = Requirements::parse(text).unwrap();
        let mut coverage = Coverage::new(&requirements);
        coverage.add_source(
            Path::new("a.rs"),
            &"@ RFC 9260 §1: \"MUST a\"\n@ RFC 9260 §1: \"MUST b\"\n".replace('@', "//="),
        );
        coverage.add_source(Path::new("tests.rs"), &"@ test RFC 9260 §1: \"MUST a\"\n".replace('@', "//="));
        let exceptions = exception::parse("others §1: \"MUST c\"\n    IANA\n").unwrap();
        coverage.add_exceptions(Path::new("x"), &exceptions);
        let count = |level| Count::of(&coverage, level, requirements.indices());
        assert_eq!(count(Level::Must), Count { all: 4, met: 2, tested: 1, excepted: 1, unmet: 1 });
        assert_eq!(count(Level::Should), Count { all: 1, met: 0, tested: 0, excepted: 0, unmet: 1 });
        assert_eq!(count(Level::Should).cells(), ["1", "·", "·", "·", "1"]);
    }
}
