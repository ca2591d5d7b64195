//! What a measurement is to do: the options that `sctp perf client` and `sctp perf memory` share.

use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::content::Content;
use super::control::CONTROL_PPID;
use super::digest::DigestKind;
use super::schedule::Plan;
use crate::cli::progress::{Goal, ProgressMode};
use crate::cli::values::{self, SizeRange};

/// How long a measurement takes that neither --count nor --duration bounds.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// What is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// One way to `sctp perf server`, which counts, digests and reports
    Stream,
    /// To any echo server and back; a window of messages is outstanding, every echo is compared byte by byte
    #[default]
    Echo,
    /// As echo, with one message at a time: the round-trip time
    Ping,
}

impl Mode {
    /// The name that is used on the command line and in the summary.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Echo => "echo",
            Self::Ping => "ping",
        }
    }
}

/// The options.
#[derive(Args, Clone, Debug)]
pub(crate) struct Work {
    /// What to measure
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) mode: Mode,

    /// Size of the messages in bytes: one (64, 16Ki), a range of which every size is equally likely (1-65536), or one of which
    /// every power of two is, so that most are small (1~65536)
    #[arg(short, long, value_name = "N[-M|~M]", default_value = "64")]
    pub(crate) size: SizeRange,

    /// Stop after so many messages (100000, 100k, 1M)
    #[arg(short = 'n', long, value_name = "N", value_parser = values::positive_count)]
    pub(crate) count: Option<u64>,

    /// Stop after this time (10s, 500ms, 2m) [default: 10s, unless --count is given]
    #[arg(short = 't', long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) duration: Option<Duration>,

    /// Spread the messages over so many streams, in turn
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) streams: u16,

    /// Most messages on their way there and back, with --mode echo [default: 64]
    #[arg(short, long, value_name = "W", value_parser = values::positive_count)]
    pub(crate) window: Option<u64>,

    /// Send so many messages per second, at even distances, instead of as fast as possible. Times are then counted from when
    /// a message should have been sent
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<NonZeroU64>,

    /// Set up so many associations and share the messages among them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) associations: u32,

    /// Send messages unordered (U bit)
    #[arg(long)]
    pub(crate) unordered: bool,

    /// End the associations by ABORT, with this reason for the peer, instead of in order
    #[arg(long, value_name = "REASON", num_args = 0..=1, require_equals = true, default_missing_value = "done")]
    pub(crate) abort: Option<String>,

    /// Port to set the association up from; a peer takes an association that comes again from the same port for a restart
    /// [default: one that is free, from 49152 to 65535]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) local_port: Option<u16>,

    /// Payload protocol identifier of the messages (0 for none, 60 for NGAP …)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) ppid: u32,

    /// What the contents of the messages follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Neither compare nor digest contents: measures the stack alone. Messages and their sizes are still counted
    #[arg(long)]
    pub(crate) no_verify: bool,

    /// Give up when the server does not answer, or nothing at all is sent or received, for this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    /// Print the summary as one object of JSON, on the last line
    #[arg(long)]
    pub(crate) json: bool,

    /// How to show progress
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub(crate) progress: ProgressMode,
}

impl Work {
    /// Checks what one option says against another.
    pub(crate) fn check(&self) -> Result<()> {
        match (self.mode, self.window) {
            (Mode::Echo, _) | (_, None) => {}
            (Mode::Ping, Some(1)) => {}
            (Mode::Ping, Some(_)) => {
                bail!("--mode ping has one message on its way at a time: use --mode echo for a --window")
            }
            (Mode::Stream, Some(_)) => {
                bail!("--window is for --mode echo: with --mode stream the association alone decides")
            }
        }
        if self.ppid == CONTROL_PPID {
            bail!("--ppid {CONTROL_PPID} is the perf protocol's own: use another");
        }
        if self.count.is_some_and(|count| count < u64::from(self.associations)) {
            bail!("--count is smaller than --associations: each association needs a message at least");
        }
        if self.local_port.is_some() && self.associations > 1 {
            bail!("--local-port is for one association: several to the same peer need a port each, so leave it out");
        }
        if self.rate.is_some_and(|rate| rate.get() < u64::from(self.associations)) {
            bail!("--rate is smaller than --associations: each association needs one message per second at least");
        }
        Ok(())
    }

    /// How many messages may be on their way; `None` if nothing but the association limits them.
    pub(crate) fn window(&self) -> Option<usize> {
        match self.mode {
            Mode::Stream => None,
            Mode::Ping => Some(1),
            Mode::Echo => Some(usize::try_from(self.window.unwrap_or(64)).unwrap_or(usize::MAX)),
        }
    }

    /// The share of association number `index` in the work.
    pub(crate) fn plan(&self, index: u32) -> Plan {
        let (index, associations) = (u64::from(index), u64::from(self.associations));
        let share = |whole: u64| whole / associations + u64::from(index < whole % associations);
        Plan {
            count: self.count.map(share),
            duration: self.duration(),
            rate: self.rate.and_then(|rate| NonZeroU64::new(share(rate.get()))),
        }
    }

    /// What the messages of association number `index` contain. Each association has contents of its own, so that messages
    /// which end up in the wrong one are seen.
    pub(crate) fn content(&self, index: u32) -> Content {
        let seed = self.seed.wrapping_add(u64::from(index) << 32);
        Content { seed, sizes: self.size, streams: self.streams }
    }

    /// How the server is to digest what it gets.
    pub(crate) fn digest_kind(&self) -> DigestKind {
        match (self.no_verify, self.unordered) {
            (true, _) => DigestKind::None,
            (false, true) => DigestKind::Unordered,
            (false, false) => DigestKind::Ordered,
        }
    }

    /// What the progress is measured by.
    pub(crate) fn goal(&self) -> Goal {
        match (self.count, self.duration()) {
            (Some(count), _) => Goal::Messages(count),
            (None, duration) => Goal::Time(duration.unwrap_or(DEFAULT_DURATION)),
        }
    }

    fn duration(&self) -> Option<Duration> {
        match (self.count, self.duration) {
            (None, None) => Some(DEFAULT_DURATION),
            (_, duration) => duration,
        }
    }
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    values::positive_count(text).and_then(|rate| NonZeroU64::new(rate).ok_or_else(|| "at least 1 is needed".to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        work: Work,
    }

    fn parse(line: &str) -> Work {
        Command::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).unwrap().work
    }

    fn refusal(line: &str) -> String {
        Command::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).unwrap_err().to_string()
    }

    #[test]
    fn defaults() {
        let work = parse("");
        work.check().unwrap();
        assert_eq!((work.mode, work.size.to_string(), work.streams), (Mode::Echo, "64".to_owned(), 1));
        assert_eq!(work.window(), Some(64));
        assert_eq!(work.plan(0), Plan { count: None, duration: Some(DEFAULT_DURATION), rate: None });
        assert!(matches!(work.goal(), Goal::Time(DEFAULT_DURATION)));
        assert_eq!(work.digest_kind(), DigestKind::Ordered);
    }

    #[test]
    fn everything_can_be_said() {
        let work = parse(
            "--mode stream --size 1-64Ki --count 100k --duration 500ms --streams 16 --rate 1M --associations 3 --unordered \
             --ppid 60 --seed 9 --timeout 3s --json --progress json",
        );
        work.check().unwrap();
        assert_eq!(work.mode.name(), "stream");
        assert_eq!((work.size.lowest, work.size.highest), (1, 65_536));
        assert_eq!(work.digest_kind(), DigestKind::Unordered);
        assert!(matches!(work.goal(), Goal::Messages(100_000)));
        assert_eq!((work.ppid, work.streams, work.progress), (60, 16, ProgressMode::Json));
        assert_eq!((work.abort.as_deref(), work.local_port), (None, None));
        assert_eq!(parse("--abort").abort.as_deref(), Some("done"));
        assert_eq!(parse("--abort=enough").abort.as_deref(), Some("enough"));
        assert_eq!(parse("--local-port 7").local_port, Some(7));
        assert_eq!(work.timeout, Duration::from_secs(3));
        let counts: Vec<_> = (0..3).map(|index| work.plan(index).count.unwrap()).collect();
        assert_eq!(counts, [33_334, 33_333, 33_333]);
        let rates: u64 = (0..3).map(|index| work.plan(index).rate.unwrap().get()).sum();
        assert_eq!(rates, 1_000_000);
        assert_ne!(work.content(0), work.content(1));
    }

    #[test]
    fn refusals_say_what_would_be_right() {
        assert!(refusal("--size 70000000").contains("at most 262144 bytes"));
        assert!(refusal("--size 9-3").contains("write 3-9"));
        assert!(refusal("--duration 10").contains("write 10s"));
        assert!(refusal("--count many").contains("not a count"));
        assert!(refusal("--streams 0").contains("1..=65535"));
        assert!(refusal("--mode fast").contains("stream, echo, ping"));
        assert!(refusal("--rate 0").contains("at least 1"));
    }

    #[test]
    fn options_that_contradict_each_other() {
        let error = |line: &str| parse(line).check().unwrap_err().to_string();
        assert!(error("--mode ping --window 2").contains("use --mode echo"));
        assert!(error("--mode stream --window 2").contains("--mode echo"));
        assert!(error("--count 3 --associations 4").contains("--associations"));
        assert!(error("--rate 3 --associations 4").contains("--associations"));
        assert!(error("--local-port 9 --associations 4").contains("a port each"));
        assert!(error(&format!("--ppid {CONTROL_PPID}")).contains("use another"));
        assert_eq!(parse("--mode ping").window(), Some(1));
        assert_eq!(parse("--mode stream").window(), None);
    }
}
