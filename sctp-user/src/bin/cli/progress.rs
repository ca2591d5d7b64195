//! How far a measurement has come: a bar for people, lines of JSON for programs.

use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// How often progress is shown.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar if standard error is a terminal
    #[default]
    Auto,
    /// A bar on standard error
    Always,
    /// Not at all
    Never,
    /// A line of JSON on standard output every 100 ms
    Json,
}

/// What has been sent and received so far, by all associations of a measurement.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Messages sent.
    pub(crate) sent: Cell<u64>,
    /// Messages that came back, or that the server has reported.
    pub(crate) received: Cell<u64>,
}

impl Counts {
    /// One more was sent.
    pub(crate) fn count_sent(&self) {
        self.sent.set(self.sent.get() + 1);
    }

    /// So many more were received.
    pub(crate) fn count_received(&self, more: u64) {
        self.received.set(self.received.get() + more);
    }
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// So many messages.
    Messages(u64),
    /// The end of this time.
    Time(Duration),
}

/// Shows progress towards a goal.
#[derive(Debug)]
pub(crate) struct Progress {
    goal: Goal,
    start: Instant,
    display: Display,
}

#[derive(Debug)]
enum Display {
    None,
    Bar(ProgressBar),
    Json,
}

impl Progress {
    /// Begins now.
    pub(crate) fn start(mode: ProgressMode, goal: Goal) -> Self {
        let bar = match mode {
            ProgressMode::Always => true,
            ProgressMode::Auto => io::stderr().is_terminal(),
            ProgressMode::Never | ProgressMode::Json => false,
        };
        let display = match mode {
            ProgressMode::Json => Display::Json,
            _ if bar => Display::Bar(new_bar(goal)),
            _ => Display::None,
        };
        Self { goal, start: Instant::now(), display }
    }

    /// Shows what there is.
    pub(crate) fn update(&self, counts: &Counts) {
        let (sent, received) = (counts.sent.get(), counts.received.get());
        let elapsed = self.start.elapsed();
        match &self.display {
            Display::None => {}
            Display::Bar(bar) => {
                let position = match self.goal {
                    Goal::Messages(_) => received,
                    Goal::Time(goal) => elapsed.min(goal).as_millis() as u64,
                };
                bar.set_position(position);
                let rate = received as f64 / elapsed.as_secs_f64().max(1e-3);
                bar.set_message(format!("{received} messages, {rate:.0}/s"));
            }
            Display::Json => {
                let total = match self.goal {
                    Goal::Messages(total) => Some(total),
                    Goal::Time(_) => None,
                };
                let line = Line { progress: Figures { sent, received, total, seconds: elapsed.as_secs_f64() } };
                print_json(&line);
            }
        }
    }

    /// Shows the last state, and gives the terminal back.
    pub(crate) fn finish(self, counts: &Counts) {
        self.update(counts);
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

/// Prints a value as one line of JSON. A reader that has gone away is no failure of the measurement: it goes on to its end.
pub(crate) fn print_json(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        print_line(&line);
    }
}

/// Prints a line to standard output at once, also into a pipe.
pub(crate) fn print_line(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[derive(Debug, Serialize)]
struct Line {
    progress: Figures,
}

#[derive(Debug, Serialize)]
struct Figures {
    sent: u64,
    received: u64,
    /// `None` where time is the goal.
    total: Option<u64>,
    seconds: f64,
}

fn new_bar(goal: Goal) -> ProgressBar {
    let (length, template) = match goal {
        Goal::Messages(total) => (total, "{elapsed:>4} [{wide_bar}] {percent:>3} %  {msg}"),
        Goal::Time(duration) => (duration.as_millis() as u64, "{elapsed:>4} [{wide_bar}] {percent:>3} %  {msg}"),
    };
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_documented_shape() {
        let line = Line { progress: Figures { sent: 2, received: 1, total: Some(10), seconds: 0.5 } };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(text, r#"{"progress":{"sent":2,"received":1,"total":10,"seconds":0.5}}"#);
        let line = Line { progress: Figures { sent: 0, received: 0, total: None, seconds: 0.0 } };
        assert!(serde_json::to_string(&line).unwrap().contains(r#""total":null"#));
    }

    #[test]
    fn bars_can_be_drawn() {
        for goal in [Goal::Messages(10), Goal::Time(Duration::from_secs(1))] {
            let bar = new_bar(goal);
            bar.set_draw_target(ProgressDrawTarget::hidden());
            let progress = Progress { goal, start: Instant::now(), display: Display::Bar(bar) };
            let counts = Counts::default();
            counts.count_sent();
            counts.count_received(1);
            progress.update(&counts);
            progress.finish(&counts);
        }
    }
}
