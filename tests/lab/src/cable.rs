//! A cable with faults: loses, repeats, delays and reorders frames, or carries none at all, as a test wants it to.
//!
//! Many kernels lack `netem`, and what it does to one end of a veth pair it does to one direction. This is a process's own
//! cable between two network devices: each direction is a thread that takes frames from one packet socket and puts them into
//! another. It carries what any stack sends, those behind AF_XDP and those inside a guest among them. Between TAP devices, it takes
//! frames from one device's file and puts them into the other's.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{Namespace, sys};

/// What a cable does to frames, both ways alike. None of it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Share of frames that are lost, 0 to 1. At 1 the cable is cut. Below, it spares packets with SHUTDOWN COMPLETE: who sends one
    /// has ended, and a program that ends with its association cannot send it again; its peer would wait in vain.
    pub loss: f64,
    /// Share of frames that arrive twice.
    pub duplication: f64,
    /// Share of frames that come [`Self::LATE`] later than they should, so that others overtake them.
    pub reordering: f64,
    /// Share of the IP packets of senders capable of ECN that a congested router has marked (RFC 3168 §5).
    pub marking: f64,
    /// How long a frame takes.
    pub delay: Duration,
    /// Octets of the longest IP packet that is carried; longer ones are lost without a word. `None`: any.
    pub mtu: Option<usize>,
    /// Chunk types: packets that begin with one of them are lost.
    pub without: &'static [u8],
    /// Octets that are added behind each packet, as Ethernet pads short ones. The driver of TAP devices gives an XDP program no room behind a
    /// frame, unlike those of NICs; over this padding an answer can be longer than what it answers.
    pub padding: usize,
}

impl Faults {
    /// How much later a reordered frame arrives.
    pub const LATE: Duration = Duration::from_millis(3);

    /// A cable that is cut.
    pub fn cut() -> Self {
        Self { loss: 1.0, ..Self::default() }
    }
}

/// A cable between two network devices. Carries nothing any more when dropped.
#[derive(Debug)]
pub struct Cable {
    shared: Arc<Shared>,
    directions: Vec<Arc<Mutex<Direction>>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    carried: AtomicU64,
    lost: AtomicU64,
}

/// How long a direction sleeps before it looks whether the cable was taken away.
const SLICE: Duration = Duration::from_millis(50);

/// Octets of an Ethernet header, which an MTU does not count.
const ETHERNET: usize = 14;

impl Cable {
    /// Joins two devices of a namespace. `seed` decides which frames are met by faults.
    ///
    /// # Errors
    /// If there are no such devices, or without CAP_NET_RAW.
    pub fn join(namespace: &Namespace, ends: [&str; 2], seed: u64) -> Result<Self> {
        let open = |interface: &str| -> Result<End> {
            let open = || sys::relay_socket(sys::interface_index(interface)?);
            namespace.run(open).map(End::Socket).with_context(|| format!("packet socket on {interface}"))
        };
        Self::run([(open(ends[0])?, open(ends[1])?), (open(ends[1])?, open(ends[0])?)], seed)
    }

    /// Joins two [TAP devices](crate::tap::plug) of any namespaces.
    ///
    /// # Errors
    /// If the system lacks descriptors.
    pub(crate) fn join_taps(ends: [File; 2], seed: u64) -> Result<Self> {
        let [one, other] = ends.map(Arc::new);
        let tap = |end: &Arc<File>| End::Tap(Arc::clone(end));
        Self::run([(tap(&one), tap(&other)), (tap(&other), tap(&one))], seed)
    }

    /// A direction for each pair of where frames come from and where they go to.
    fn run(ends: [(End, End); 2], seed: u64) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (mut directions, mut threads) = (Vec::new(), Vec::new());
        for (number, (from, to)) in ends.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let random = Random(seed ^ (number as u64) << 32);
            let watched = from.as_fd().try_clone_to_owned().context("cannot clone a descriptor")?;
            let (faults, waiting, buffer) = (Faults::default(), BinaryHeap::new(), vec![0; 1 << 16]);
            let direction =
                Arc::new(Mutex::new(Direction { from, to, shared, faults, random, waiting, order: 0, buffer }));
            directions.push(Arc::clone(&direction));
            threads.push(std::thread::spawn(move || run(&watched, &direction)));
        }
        Ok(Self { shared, directions, threads })
    }

    /// Has the cable these faults from now on. What has been put into it before still meets those of before, however long a busy
    /// machine has let it lie.
    pub fn set(&self, faults: Faults) {
        self.set_each([faults; 2]);
    }

    /// As [`set`](Self::set): the first for what comes from the first end (of a [`Pair`](crate::Pair), the left one), the second for what
    /// comes from the second.
    pub fn set_each(&self, faults: [Faults; 2]) {
        for (direction, faults) in self.directions.iter().zip(faults) {
            let mut direction = lock(direction);
            direction.take_all();
            direction.faults = faults;
        }
    }

    /// How many frames have been carried, and how many lost.
    pub fn counts(&self) -> (u64, u64) {
        (self.shared.carried.load(Ordering::Relaxed), self.shared.lost.load(Ordering::Relaxed))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It does not panic; and if it did, the test has lost its cable already.
            let _ = thread.join();
        }
    }
}

/// Where a cable is plugged in.
#[derive(Debug)]
enum End {
    /// A packet socket of a device.
    Socket(OwnedFd),
    /// A TAP device, by the file that does not block.
    Tap(Arc<File>),
}

impl End {
    /// Takes a frame that is there already.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => sys::receive(socket.as_fd(), buffer),
            Self::Tap(file) => (&**file).read(buffer),
        }
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Socket(socket) => sys::send(socket.as_fd(), frame),
            // One write is one frame.
            Self::Tap(file) => (&**file).write_all(frame),
        }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Socket(socket) => socket.as_fd(),
            Self::Tap(file) => file.as_fd(),
        }
    }
}

/// One direction of a cable.
#[derive(Debug)]
struct Direction {
    from: End,
    to: End,
    shared: Arc<Shared>,
    faults: Faults,
    random: Random,
    /// Frames under way: when they arrive, in which order they came.
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    order: u64,
    /// Room for a frame.
    buffer: Vec<u8>,
}

/// Carries frames until the cable is taken away. `watched` is the direction's socket.
fn run(watched: &OwnedFd, direction: &Mutex<Direction>) {
    loop {
        let mut locked = lock(direction);
        if locked.shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let now = Instant::now();
        let sleep = locked.deliver_due(now).map_or(SLICE, |due| due.saturating_duration_since(now).min(SLICE));
        drop(locked);
        // Rounded up: a cable that looks again and again takes the time that the stacks need.
        let milliseconds = i32::try_from(sleep.as_micros().div_ceil(1000)).unwrap_or(1);
        if sys::wait_readable(watched.as_fd(), milliseconds).unwrap_or(false) {
            lock(direction).take_all();
        }
    }
}

impl Direction {
    /// Delivers what has been under way for long enough; when the next frame will have been.
    fn deliver_due(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.waiting.peek() {
                Some(Reverse((due, ..))) if *due > now => return Some(*due),
                Some(_) => {}
                None => return None,
            }
            if let Some(Reverse((_, _, frame))) = self.waiting.pop() {
                self.deliver(&frame);
            }
        }
    }

    /// Takes all frames that there are.
    fn take_all(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Ok(length) = self.from.receive(&mut buffer) {
            self.take(&buffer[..length]);
        }
        self.buffer = buffer;
    }

    fn take(&mut self, frame: &[u8]) {
        let faults = self.faults;
        let first = first_chunk(frame);
        let spared = faults.loss < 1.0 && first == Some(SHUTDOWN_COMPLETE);
        if faults.mtu.is_some_and(|mtu| frame.len() > mtu + ETHERNET)
            || first.is_some_and(|first| faults.without.contains(&first))
            || self.random.chance(faults.loss) && !spared
        {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let marked = if self.random.chance(faults.marking) { marked(frame) } else { None };
        let frame = marked.as_deref().unwrap_or(frame);
        let padded = (faults.padding > 0).then(|| [frame, &vec![0; faults.padding]].concat());
        let frame = padded.as_deref().unwrap_or(frame);
        let copies = if self.random.chance(faults.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if self.random.chance(faults.reordering) { Faults::LATE } else { Duration::ZERO };
            let delay = faults.delay + late;
            if delay.is_zero() {
                self.deliver(frame);
            } else {
                self.order += 1;
                self.waiting.push(Reverse((Instant::now() + delay, self.order, frame.to_vec())));
            }
        }
    }

    fn deliver(&self, frame: &[u8]) {
        // A full device takes the frame a little later; one that is down never does.
        for _ in 0..1000 {
            match self.to.send(frame) {
                Ok(()) => {
                    self.shared.carried.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS) =>
                {
                    std::thread::sleep(Duration::from_micros(50));
                }
                Err(_) => break,
            }
        }
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Type of the first chunk of the SCTP packet in a frame, in IPv4 or in IPv6 without extensions.
fn first_chunk(frame: &[u8]) -> Option<u8> {
    const IPPROTO_SCTP: u8 = 132;
    const COMMON_HEADER: usize = 12;
    let at = |offset: usize| frame.get(offset).copied();
    let (protocol, ip_header) = match (at(12)?, at(13)?) {
        (0x08, 0x00) => (at(ETHERNET + 9)?, 4 * usize::from(at(ETHERNET)? & 0x0f)),
        (0x86, 0xdd) => (at(ETHERNET + 6)?, 40),
        _ => return None,
    };
    (protocol == IPPROTO_SCTP).then(|| at(ETHERNET + ip_header + COMMON_HEADER))?
}

/// Chunk type of SHUTDOWN COMPLETE (RFC 9260 §3.3.13).
const SHUTDOWN_COMPLETE: u8 = 14;

/// A frame as a router that is congested sends it on: CE in place of ECT(0) or ECT(1). `None` if its sender is not capable of ECN, or it is
/// marked already.
fn marked(frame: &[u8]) -> Option<Vec<u8>> {
    let mut frame = frame.to_vec();
    match frame.get(12..16)? {
        [0x08, 0x00, _, tos] if matches!(tos & 3, 1 | 2) => {
            let header = frame.get_mut(ETHERNET..ETHERNET + 20)?;
            let before = u16::from_be_bytes([header[0], header[1]]);
            header[1] |= 3;
            let after = u16::from_be_bytes([header[0], header[1]]);
            // HC' = ~(~HC + ~m + m') (RFC 1624 §3).
            let sum = u32::from(!u16::from_be_bytes([header[10], header[11]])) + u32::from(!before) + u32::from(after);
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = (sum & 0xffff) + (sum >> 16);
            header[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
        // The low half of the traffic class is the high half of the second octet.
        [0x86, 0xdd, _, class] if matches!(class >> 4 & 3, 1 | 2) => frame[ETHERNET + 1] |= 0x30,
        _ => return None,
    }
    Some(frame)
}

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn chance(&mut self, share: f64) -> bool {
        if share <= 0.0 {
            return false;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        ((word >> 11) as f64) < share * (1_u64 << 53) as f64
    }
}

/// No thread panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::chunk::chunk;
    use crate::frame::{Checksum, SctpFrame};
    use crate::{Pair, PairConfig, require_root};

    #[test]
    fn chances_are_as_likely_as_they_say() {
        let mut random = Random(1);
        let met = (0..100_000).filter(|_| random.chance(0.02)).count();
        assert!((1700..2300).contains(&met), "{met} of 100000");
        assert!(!random.chance(0.0) && random.chance(1.0));
    }

    /// A packet with one chunk of this kind.
    fn packet(source: &str, destination: &str, kind: u8) -> Vec<u8> {
        let frame = SctpFrame {
            source_mac: [2; 6],
            destination_mac: [4; 6],
            vlans: Vec::new(),
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: 1,
            destination_port: 2,
            verification_tag: 3,
            checksum: Checksum::Right,
            chunks: chunk(kind, 0, &[]),
        };
        frame.build()
    }

    #[test]
    fn shutdown_complete_is_told_from_the_rest() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            assert_eq!(first_chunk(&packet(source, destination, 14)), Some(SHUTDOWN_COMPLETE));
            assert_eq!(first_chunk(&packet(source, destination, 8)), Some(8));
            let short = &packet(source, destination, 14)[..30];
            assert_eq!(first_chunk(short), None);
        }
        assert_eq!(first_chunk(&[]), None);
    }

    /// By the second octet of the IP header (TOS, or half of the traffic class), the one that a congested router makes of it.
    #[test]
    fn marks_are_set_where_the_sender_knows_them() {
        let ones_sum = |header: &[u8]| {
            let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
            let sum: u32 = words.sum();
            (sum & 0xffff) + (sum >> 16)
        };
        for (before, after) in [(0xb8, None), (0xb9, Some(0xbb)), (0xba, Some(0xbb)), (0xbb, None)] {
            let mut frame = packet("10.0.0.1", "10.0.0.2", 0);
            frame[ETHERNET + 1] = before;
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&[0; 2]);
            let sum = !(ones_sum(&frame[ETHERNET..ETHERNET + 20]) as u16);
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
            let marked = marked(&frame);
            assert_eq!(marked.as_ref().map(|frame| frame[ETHERNET + 1]), after, "{before:#x}");
            if let Some(marked) = marked {
                assert_eq!(ones_sum(&marked[ETHERNET..ETHERNET + 20]), 0xffff, "{before:#x}");
            }
        }
        for (before, after) in [(0x80, None), (0x95, Some(0xb5)), (0xa5, Some(0xb5)), (0xb5, None)] {
            let mut frame = packet("fd00::1", "fd00::2", 0);
            frame[ETHERNET + 1] = before;
            assert_eq!(marked(&frame).map(|frame| frame[ETHERNET + 1]), after, "{before:#x}");
        }
        assert_eq!(marked(&[0; 15]), None);
    }

    /// A frame with a number, `length` octets long.
    fn frame(pair: &Pair, number: u32, length: usize) -> Vec<u8> {
        let mut frame = [pair.right.mac, pair.left.mac].concat();
        frame.extend([0x88, 0xb5]); // an EtherType for local experiments
        frame.extend(number.to_be_bytes());
        frame.resize(length, 0);
        frame
    }

    #[test]
    fn frames_meet_their_faults() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("cable", &PairConfig { faulty: true, ..PairConfig::default() }).unwrap();
        let cable = &pair.cables[0];
        let (left, right) = (pair.left.packet_socket().unwrap(), pair.right.packet_socket().unwrap());
        let ours = |candidate: &[u8]| candidate[12..14] == [0x88, 0xb5];
        let long = Duration::from_secs(60);
        // Nothing but the test's own frames, so that they can be counted.
        for host in [&pair.left, &pair.right] {
            host.namespace.ip(&["link", "set", &host.interface, "arp", "off"]).unwrap();
            let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", host.interface);
            host.namespace.run(|| std::fs::write(path, "1")).unwrap();
        }
        // Twice as many wait in a socket's buffer until they are received.
        const MANY: u32 = 100;
        let exchange = |faults: Faults, count: u32, length: usize| -> Vec<Vec<u8>> {
            cable.set(faults);
            let gone = || {
                let (carried, lost) = cable.counts();
                carried + lost
            };
            let before = gone();
            let copies = if faults.duplication > 0.0 { 2 } else { 1 };
            (0..count).for_each(|number| left.send(&frame(&pair, number, length)).unwrap());
            // All have met their fate before the cable is mended.
            let deadline = Instant::now() + long;
            while gone() < before + copies * u64::from(count) {
                assert!(Instant::now() < deadline, "{:?}", cable.counts());
                std::thread::sleep(Duration::from_millis(1));
            }
            cable.set(Faults::default());
            left.send(&frame(&pair, u32::MAX, 60)).unwrap();
            let mut got = Vec::new();
            loop {
                let next = right.receive(long, ours).unwrap().expect("the last frame comes");
                if next == frame(&pair, u32::MAX, 60) {
                    return got;
                }
                got.push(next);
            }
        };
        let sent: Vec<_> = (0..MANY).map(|number| frame(&pair, number, 60)).collect();
        assert_eq!(exchange(Faults::default(), MANY, 60), sent);
        assert_eq!(exchange(Faults::cut(), MANY, 60).len(), 0);
        let some = exchange(Faults { loss: 0.5, ..Faults::default() }, MANY, 60).len();
        assert!((25..75).contains(&some), "{some}");
        assert_eq!(exchange(Faults { duplication: 1.0, ..Faults::default() }, MANY, 60).len(), 2 * MANY as usize);
        let late = exchange(Faults { reordering: 0.3, ..Faults::default() }, MANY, 60);
        assert_eq!(late.len(), MANY as usize);
        assert_ne!(late, sent);
        assert_eq!(exchange(Faults { delay: Duration::from_millis(20), ..Faults::default() }, MANY, 60), sent);
        let mtu = Faults { mtu: Some(1280), ..Faults::default() };
        assert_eq!((exchange(mtu, 9, 1294).len(), exchange(mtu, 9, 1295).len()), (9, 0));
        let (carried, lost) = cable.counts();
        assert!(carried > 500 && lost > 100, "{carried} {lost}");
    }
}
