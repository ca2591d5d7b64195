//! Dropped packets for `sctp drops`: what a running stack shows to other processes.
//!
//! A stack listens on an abstract Unix socket `sctp-drops/<interface>`. Unlike [statistics](super::service), packets are other people's data,
//! and showing them costs the stack something: it answers to root and to the user that it runs as, and to nobody else. The client sends one
//! line, a [`Wish`]; then it gets a line of JSON ([`Report`]) for each packet that is shown, and one each second.

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use sctp_common::verdict::DropReason;
use serde::{Deserialize, Serialize};

use super::service::StatsError;
use crate::Stack;
use crate::datapath::xdp::{Control, DroppedPacket};

const PREFIX: &str = "sctp-drops/";
/// How long a client may take to say what it wishes, and to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a client hears something, also when nothing is dropped.
const PERIOD: Duration = Duration::from_secs(1);
/// How often it is looked whether the service shall end.
const ATTENTION: Duration = Duration::from_millis(200);
/// Clients at a time.
const MAX_CLIENTS: usize = 8;

/// What a client wishes to see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Names of drop reasons; none for all.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Report {
    /// A packet was dropped.
    Dropped(Dropped),
    /// So many packets that were wanted have not been shown since the client came, because there were too many at a time.
    LeftOut(u64),
    /// The client gets nothing: why.
    Refused(String),
}

/// A packet that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// When, in nanoseconds since 1970 began.
    pub time_ns: u64,
    /// The interface that it came by.
    pub interface: String,
    /// The queue of that interface.
    pub queue: u32,
    /// Name of the drop reason.
    pub reason: String,
    /// Bytes of the frame.
    pub length: u32,
    /// The first of them, in hexadecimal.
    #[serde(with = "hexadecimal")]
    pub frame: Vec<u8>,
}

/// The drop reason of this name.
pub fn reason(name: &str) -> Option<DropReason> {
    DropReason::ALL.iter().copied().find(|reason| reason.name() == name)
}

/// The service of a stack; dropping it ends it.
#[derive(Debug)]
pub struct DropsService {
    name: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DropsService {
    /// Shows the packets that the XDP programs of `stack` drop, under the name of `interface`. `None` where the stack runs on none.
    ///
    /// # Errors
    /// `AddrInUse` when another stack serves that name, and what the system returns.
    pub fn start(stack: &Stack, interface: &str) -> io::Result<Option<DropsService>> {
        let Some(control) = stack.xdp().cloned() else { return Ok(None) };
        let name = format!("{PREFIX}{interface}");
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("sctp-drops".to_owned()).spawn(move || {
            let mut clients: Vec<JoinHandle<()>> = Vec::new();
            let busy = Arc::new(AtomicUsize::new(0));
            for client in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                clients.retain(|client| !client.is_finished());
                if let Some(client) = client.ok().and_then(|client| serve(client, &control, &stopped, &busy)) {
                    clients.push(client);
                }
            }
            for client in clients {
                // A panic in it has been reported on the standard error stream.
                let _ = client.join();
            }
        })?;
        Ok(Some(DropsService { name, stop, thread: Some(thread) }))
    }
}

impl Drop for DropsService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A connection wakes the thread from `accept`.
        let woken = SocketAddr::from_abstract_name(&self.name).and_then(|address| UnixStream::connect_addr(&address));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            // As above.
            let _ = thread.join();
        }
    }
}

/// Serves a client on a thread of its own, unless there are too many.
fn serve(
    client: UnixStream,
    control: &Control,
    stopped: &Arc<AtomicBool>,
    busy: &Arc<AtomicUsize>,
) -> Option<JoinHandle<()>> {
    let (control, stopped, busy) = (control.clone(), stopped.clone(), busy.clone());
    let others = busy.fetch_add(1, Ordering::AcqRel);
    let work = move || {
        let outcome = match others < MAX_CLIENTS {
            true => show(&client, &control, &stopped),
            false => tell(&client, &Report::Refused(format!("{MAX_CLIENTS} others look at the drops already"))),
        };
        // A client that breaks off harms only itself.
        if let Err(error) = outcome {
            tracing::debug!(%error, "a reader of the drops is served no longer");
        }
        busy.fetch_sub(1, Ordering::AcqRel);
    };
    thread::Builder::new().name("sctp-drops".to_owned()).spawn(work).ok()
}

fn show(client: &UnixStream, control: &Control, stopped: &AtomicBool) -> io::Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let user = rustix::net::sockopt::socket_peercred(client)?.uid;
    if !user.is_root() && user != rustix::process::geteuid() {
        let refusal = "only root and the user that the stack runs as may look at packets: use sudo";
        return tell(client, &Report::Refused(refusal.to_owned()));
    }
    let mut line = String::new();
    BufReader::new(io::Read::take(client, 64 << 10)).read_line(&mut line)?;
    let wish: Wish = serde_json::from_str(&line)?;
    let mut reasons = Vec::new();
    for name in &wish.reasons {
        match reason(name) {
            Some(reason) => reasons.push(reason),
            None => return tell(client, &Report::Refused(format!("nothing is dropped for a reason named {name}"))),
        }
    }
    let names: Vec<(u32, String)> =
        control.mode().interfaces.iter().map(|interface| (interface.ifindex, interface.name.clone())).collect();
    let mut watch = control.watch_drops(&reasons)?;
    // The client knows by it that what comes now will be seen.
    tell(client, &Report::LeftOut(0))?;
    let mut said = Instant::now();
    while !stopped.load(Ordering::Acquire) {
        if let Some(packet) = watch.next(ATTENTION)? {
            tell(client, &Report::Dropped(describe(packet, &names)))?;
        }
        if said.elapsed() >= PERIOD {
            tell(client, &Report::LeftOut(watch.left_out()?))?;
            said = Instant::now();
        }
    }
    Ok(())
}

fn describe(packet: DroppedPacket, names: &[(u32, String)]) -> Dropped {
    let name = names.iter().find(|(ifindex, _)| *ifindex == packet.interface).map(|(_, name)| name.clone());
    let time = packet.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Dropped {
        time_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        interface: name.unwrap_or_else(|| packet.interface.to_string()),
        queue: packet.queue,
        reason: packet.reason.name().to_owned(),
        length: packet.length,
        frame: packet.frame,
    }
}

fn tell(mut client: &UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    client.write_all(&line)
}

/// The reports of a stack, as they come; each is waited for. The end of the stack is their end.
#[derive(Debug)]
pub struct Reports {
    lines: Lines<BufReader<UnixStream>>,
}

/// Asks the stack that runs on `interface` in this network namespace to show the packets that it drops. When this returns, it does.
///
/// # Errors
/// When no stack runs there, it refuses, or its answer is not understood.
pub fn watch(interface: &str, wish: &Wish) -> Result<Reports, StatsError> {
    let not_running = |_| StatsError::NotRunning(interface.to_owned());
    let no_answer = |source| StatsError::NoAnswer { interface: interface.to_owned(), source };
    let address = SocketAddr::from_abstract_name(format!("{PREFIX}{interface}")).map_err(not_running)?;
    let mut stream = UnixStream::connect_addr(&address).map_err(not_running)?;
    let mut line = serde_json::to_string(wish).map_err(|error| no_answer(error.into()))?;
    line.push('\n');
    stream.set_read_timeout(Some(PERIOD * 5)).and_then(|()| stream.write_all(line.as_bytes())).map_err(no_answer)?;
    let mut reports = Reports { lines: BufReader::new(stream).lines() };
    match reports.next() {
        Some(Ok(Report::Refused(reason))) => Err(no_answer(io::Error::new(io::ErrorKind::PermissionDenied, reason))),
        Some(Ok(_)) => Ok(reports),
        Some(Err(error)) => Err(no_answer(error)),
        None => Err(no_answer(io::ErrorKind::UnexpectedEof.into())),
    }
}

impl Iterator for Reports {
    type Item = io::Result<Report>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.lines.next()?.and_then(|line| Ok(serde_json::from_str(&line)?)))
    }
}

/// Bytes as text.
mod hexadecimal {
    use std::fmt::Write as _;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(bytes.len() * 2);
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        let pairs = text.as_bytes().chunks(2).map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        });
        pairs.collect::<Option<_>>().ok_or_else(|| de::Error::custom("not hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_as_they_are_written() {
        let dropped = Dropped {
            time_ns: 1,
            interface: "eth0".to_owned(),
            queue: 2,
            reason: "checksum".to_owned(),
            length: 1500,
            frame: vec![0x00, 0x7f, 0xff],
        };
        let json = serde_json::to_string(&Report::Dropped(dropped.clone())).unwrap();
        assert!(json.contains(r#""frame":"007fff""#), "{json}");
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), Report::Dropped(dropped));
        for wrong in ["0", "0g", "é"] {
            assert!(serde_json::from_str::<Report>(&json.replace("007fff", wrong)).is_err(), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&Report::LeftOut(7)).unwrap(), r#"{"left_out":7}"#);
    }

    #[test]
    fn reasons_have_names() {
        assert!(DropReason::ALL.iter().all(|wanted| reason(wanted.name()) == Some(*wanted)));
        assert_eq!(reason("abort"), None, "an answer, not a drop");
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let error = watch("there-is-none", &Wish::default()).unwrap_err().to_string();
        assert!(error.contains("no stack runs on interface there-is-none"), "{error}");
    }
}
