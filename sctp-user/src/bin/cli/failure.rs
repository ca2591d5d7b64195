//! How a failure is told: one sentence, from what was tried to what went wrong.

use std::error::Error;

/// The whole chain of causes as one sentence, joined with ": ".
///
/// Many errors already say their cause in their own text; it is not said twice.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        let text = one_line(&error.to_string());
        if sentence.is_empty() {
            sentence = text;
        } else if !text.is_empty() && !sentence.ends_with(&text) {
            sentence.push_str(": ");
            sentence.push_str(&text);
        }
        cause = error.source();
    }
    sentence
}

/// Line breaks become spaces, so that a log line stays one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context as _, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the socket could not be bound: {0}")]
    struct Says(#[source] io::Error);

    #[test]
    fn a_chain_is_joined() {
        let error = anyhow!("queue 0 of eth0 is busy").context("the stack could not be opened").context("sctp echo");
        assert_eq!(sentence(&error), "sctp echo: the stack could not be opened: queue 0 of eth0 is busy");
    }

    #[test]
    fn a_cause_that_the_error_names_itself_is_not_repeated() {
        let error: anyhow::Result<()> = Err(Says(io::Error::other("device busy"))).context("eth0");
        assert_eq!(sentence(&error.unwrap_err()), "eth0: the socket could not be bound: device busy");
    }

    #[test]
    fn it_stays_on_one_line_and_shows_no_debug_text() {
        let error = anyhow!("first\n  second").context("above");
        assert_eq!(sentence(&error), "above: first second");
        let error: anyhow::Error = io::Error::from_raw_os_error(2).into();
        assert!(!sentence(&error).contains("Os {"));
    }
}
