//! `sctp drops`: the packets that a running stack drops.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use sctp_common::verdict::{DropReason, Verdict};
use sctp_user::datapath::capture::Direction;
use sctp_user::telemetry::drops::{Dropped, Report, Wish, reason, watch};
use sctp_user::telemetry::glimpse::Glimpse;
use sctp_user::telemetry::pcapng::{LinkType, PcapngWriter};
use sctp_user::telemetry::service::{query, running};
use serde::Serialize;

use super::options::Verbosity;
use super::progress::{print_json, print_line};
use super::{table, values};

/// Options of `sctp drops`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DropsOptions {
    /// Interface that the stack runs on; may be given several times [default: all stacks of this network namespace]
    #[arg(short, long = "interface", value_name = "IF")]
    pub(crate) interfaces: Vec<String>,

    /// Go on until interrupted, or until the stacks end
    #[arg(short, long, conflicts_with = "time")]
    pub(crate) follow: bool,

    /// How long to look
    #[arg(long = "for", value_name = "TIME", default_value = "1s", value_parser = values::duration)]
    pub(crate) time: Duration,

    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = values::positive_count)]
    pub(crate) count: Option<u64>,

    /// Only packets that are dropped for this reason; may be given several times
    #[arg(long = "reason", value_name = "NAME", value_parser = known_reason)]
    pub(crate) reasons: Vec<String>,

    /// Write the packets to a capture file too, each with its reason as comment
    #[arg(long, value_name = "FILE.pcapng")]
    pub(crate) write: Option<PathBuf>,

    /// Print one object of JSON per packet and line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Runs the subcommand.
pub(crate) fn run(options: &DropsOptions) -> Result<()> {
    let reports = watch_all(options)?;
    let mut capture = options.write.as_deref().map(Capture::create).transpose()?;
    let deadline = (!options.follow).then(|| Instant::now() + options.time);
    let mut left_out = BTreeMap::new();
    let mut shown = 0;
    while options.count.is_none_or(|count| shown < count) {
        let next = match deadline {
            Some(deadline) => reports.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            None => reports.recv().map_err(RecvTimeoutError::from),
        };
        match next {
            Ok((_, Report::Dropped(packet))) => {
                show(&packet, options.json);
                if let Some(capture) = &mut capture {
                    capture.write(&packet).context("the capture file cannot be written")?;
                }
                shown += 1;
            }
            Ok((interface, Report::LeftOut(count))) => {
                left_out.insert(interface, count);
            }
            Ok((interface, Report::Refused(why))) => bail!("the stack on interface {interface} refused: {why}"),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let left_out: u64 = left_out.values().sum();
    if !options.json {
        let more = match left_out {
            0 => String::new(),
            count => format!("; {} more were not shown, because there were too many", table::thousands(count)),
        };
        eprintln!("{} dropped packets{more}", table::thousands(shown));
    }
    Ok(())
}

/// Asks every stack that is meant, each once, and collects what they say.
fn watch_all(options: &DropsOptions) -> Result<Receiver<(String, Report)>> {
    let mut interfaces = options.interfaces.clone();
    if interfaces.is_empty() {
        interfaces = running().context("cannot list the running stacks")?;
    }
    if interfaces.is_empty() {
        bail!("no stack runs in this network namespace (`ip netns exec NAME sctp drops` looks into another)");
    }
    let wish = Wish { reasons: options.reasons.clone() };
    let (sender, receiver) = channel();
    let mut seen: Vec<Vec<String>> = Vec::new();
    for interface in interfaces {
        // A stack on several interfaces answers for each of them.
        let all = query(&interface)?.interfaces;
        if seen.contains(&all) {
            continue;
        }
        seen.push(all);
        let reports = watch(&interface, &wish)?;
        let sender = sender.clone();
        thread::spawn(move || {
            // The end of the stack ends its reports; so does the end of this program.
            for report in reports.map_while(io::Result::ok) {
                if sender.send((interface.clone(), report)).is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

fn show(packet: &Dropped, json: bool) {
    match json {
        true => print_json(&Line::of(packet)),
        false => print_line(&describe(packet)),
    }
}

/// `12:34:56.789012 eth0 queue 0 checksum: 10.0.0.1:7000 > 10.0.0.2:5000 tag 0x12345678 DATA (1442 bytes)`
fn describe(packet: &Dropped) -> String {
    format!(
        "{} {} queue {} {}: {} ({} bytes)",
        time_of_day(packet.time_ns),
        packet.interface,
        packet.queue,
        packet.reason,
        glimpse(packet),
        packet.length
    )
}

/// A packet as JSON: what the stack said of it, and what can be read of it.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    packet: &'a Dropped,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<u32>,
    chunks: Vec<String>,
}

impl<'a> Line<'a> {
    fn of(packet: &'a Dropped) -> Self {
        let glimpse = glimpse(packet);
        let (source, destination) = glimpse.addresses.unzip();
        let (source_port, destination_port) = glimpse.ports.unzip();
        Line {
            packet,
            source: source.map(|address| address.to_string()),
            destination: destination.map(|address| address.to_string()),
            source_port,
            destination_port,
            tag: glimpse.tag,
            chunks: glimpse.chunk_names(),
        }
    }
}

fn glimpse(packet: &Dropped) -> Glimpse {
    Glimpse::of(&packet.frame, packet.length as usize)
}

/// The time of day in UTC, of nanoseconds since 1970 began.
fn time_of_day(time_ns: u64) -> String {
    let (seconds, micros) = (time_ns / 1_000_000_000 % 86_400, time_ns / 1000 % 1_000_000);
    format!("{:02}:{:02}:{:02}.{micros:06}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The file that packets are written to.
struct Capture {
    writer: PcapngWriter<BufWriter<File>>,
    /// Names of the interfaces; their places are their numbers in the file.
    interfaces: Vec<String>,
}

impl Capture {
    fn create(path: &std::path::Path) -> Result<Self> {
        let create = || PcapngWriter::new(BufWriter::new(File::create(path)?));
        let writer = create().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { writer, interfaces: Vec::new() })
    }

    fn write(&mut self, packet: &Dropped) -> io::Result<()> {
        let known = self.interfaces.iter().position(|name| *name == packet.interface);
        let number = known.unwrap_or(self.interfaces.len()) as u32;
        if known.is_none() {
            self.writer.interface(number, &packet.interface, LinkType::Ethernet)?;
            self.interfaces.push(packet.interface.clone());
        }
        let time = Duration::from_nanos(packet.time_ns);
        let sentence = reason(&packet.reason).map_or("", |reason| Verdict::Drop(reason).describe());
        let comment = format!("dropped by XDP: {} (queue {}). {sentence}", packet.reason, packet.queue);
        let length = packet.length as usize;
        self.writer.part(number, time, Direction::Inbound, &packet.frame, length, &comment)?;
        // So that the file is whole however this ends.
        self.writer.flush()
    }
}

fn known_reason(name: &str) -> Result<String, String> {
    match reason(name) {
        Some(_) => Ok(name.to_owned()),
        None => {
            let names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
            Err(format!("nothing is dropped for a reason named {name}; reasons are {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Dropped {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 132, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x1b, 0x58, 0x13, 0x88, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 11, 0, 0, 4]);
        Dropped {
            time_ns: ((13 * 60 + 5) * 60 + 9) * 1_000_000_000 + 86_400_000_000_000 * 20_000 + 1_234,
            interface: "eth0".to_owned(),
            queue: 3,
            reason: "checksum".to_owned(),
            length: 50,
            frame,
        }
    }

    #[test]
    fn a_packet_is_a_line() {
        assert_eq!(
            describe(&packet()),
            "13:05:09.000001 eth0 queue 3 checksum: 10.0.0.1:7000 > 10.0.0.2:5000 tag 0x12345678 COOKIE ACK (50 bytes)"
        );
        let json = serde_json::to_value(Line::of(&packet())).unwrap();
        assert_eq!((&json["reason"], &json["source"]), (&"checksum".into(), &"10.0.0.1".into()));
        assert_eq!((&json["destination_port"], &json["chunks"][0]), (&5000.into(), &"COOKIE ACK".into()));
    }

    #[test]
    fn reasons_are_checked_before_anybody_is_asked() {
        assert_eq!(known_reason("bad-tag"), Ok("bad-tag".to_owned()));
        assert!(known_reason("bad_tag").unwrap_err().contains("reasons are ip-version, "));
    }
}
