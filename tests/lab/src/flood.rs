//! Floods of garbage: frames prepared beforehand, sent from a host's interface as fast as one thread can, or at a rate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::frame::{Checksum, SctpFrame, chunk};
use crate::veth::Family;
use crate::{Host, cpus, sys};

/// Different frames of a flood, which come round and round.
const FRAMES: u32 = 8192;

/// Frames between two looks at the clock.
const BATCH: usize = 64;

/// A kind of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// INITs from anywhere, with a wrong checksum.
    BadChecksum,
    /// DATA from the peer of an association, with tags that are not the association's.
    BadTag,
    /// DATA of associations that there are none of, from the port of nobody.
    OutOfTheBlue,
    /// Sound INITs from anywhere.
    Init,
    /// COOKIE ECHOs from anywhere, with cookies that nobody has made.
    CookieEcho,
    /// Chunks that do not fit their packets.
    Malformed,
}

impl Garbage {
    /// Each kind.
    pub const ALL: [Self; 6] =
        [Self::BadChecksum, Self::BadTag, Self::OutOfTheBlue, Self::Init, Self::CookieEcho, Self::Malformed];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadChecksum => "wrong checksum",
            Self::BadTag => "wrong tag",
            Self::OutOfTheBlue => "DATA out of the blue",
            Self::Init => "INITs from anywhere",
            Self::CookieEcho => "forged cookies",
            Self::Malformed => "malformed",
        }
    }

    /// The counters of the XDP program that count it: each packet raises one of them.
    pub fn counters(self) -> &'static [&'static str] {
        match self {
            Self::BadChecksum => &["checksum"],
            Self::BadTag => &["bad-tag"],
            Self::OutOfTheBlue => &["to-be-answered", "answer-rate"],
            // Beyond a rate the program answers them itself, or drops them where the driver does not send what it answers.
            Self::Init => &["init", "init-ack", "init-rate"],
            // Some programs look at the cookie themselves.
            Self::CookieEcho => &["cookie-echo", "bad-cookie"],
            Self::Malformed => &["chunk-length", "chunk-truncated", "chunk-header", "no-chunk"],
        }
    }

    /// Whether it gets past the XDP program.
    pub fn reaches_workers(self) -> bool {
        matches!(self, Self::Init | Self::CookieEcho)
    }

    /// Frames of this kind from one host to a port of another; `peer_port` is that of an association between the two, for those that
    /// pretend to be of it. What comes from anywhere comes from [networks for measurements](route_back).
    pub fn frames(self, from: &Host, to: &Host, family: Family, peer_port: u16, port: u16) -> Vec<Vec<u8>> {
        let base = SctpFrame {
            source_mac: from.mac,
            destination_mac: to.mac,
            vlans: vec![],
            source: from.address(family),
            destination: to.address(family),
            source_port: NOBODY,
            destination_port: port,
            verification_tag: 0,
            checksum: Checksum::Right,
            chunks: chunk::data(1, 0, 0, b"from nobody"),
        };
        let frame = |number: u32| {
            // Odd, so that it is not zero; another one for each number.
            let random = number.wrapping_mul(0x9e37_79b9) | 1;
            let anywhere = SctpFrame {
                source: address_of(number, family),
                source_port: 1024 + (random >> 17) as u16,
                chunks: chunk::init(random, number),
                ..base.clone()
            };
            let tagged = SctpFrame { verification_tag: random, ..base.clone() };
            match self {
                Self::BadChecksum => SctpFrame { checksum: Checksum::Wrong, ..anywhere }.build(),
                Self::BadTag => SctpFrame { source_port: peer_port, ..tagged }.build(),
                Self::OutOfTheBlue => tagged.build(),
                Self::Init => anywhere.build(),
                Self::CookieEcho => {
                    let chunks = chunk::cookie_echo(&random.to_be_bytes().repeat(25));
                    SctpFrame { verification_tag: random, chunks, ..anywhere }.build()
                }
                Self::Malformed => match number % 4 {
                    0 => SctpFrame { chunks: chunk::with_length(0, 3, 3, &[0; 12]), ..tagged }.build(),
                    1 => SctpFrame { chunks: chunk::with_length(0, 3, 1000, &[0; 20]), ..tagged }.build(),
                    2 => tagged.build_cut(12 + 3),
                    _ => tagged.build_cut(12),
                },
            }
        };
        (0..FRAMES).map(frame).collect()
    }
}

/// A port from which nobody has an association: those are drawn from the ephemeral ones.
const NOBODY: u16 = 7;

/// An address of a network for measurements: 198.18.0.0/15 (RFC 2544) or 2001:2::/48 (RFC 5180).
fn address_of(number: u32, family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::from_bits(0xc612_0000 | (number.wrapping_mul(0x9e37_79b9) >> 15)).into(),
        Family::Ipv6 => Ipv6Addr::from_bits((0x2001_0002_u128 << 96) | u128::from(number) << 32 | 1).into(),
    }
}

/// Sends what `host` answers to floods back to where they come from. Without it there is no route, and nothing is sent.
///
/// # Errors
/// If the routes cannot be made.
pub fn route_back(host: &Host, to: &Host) -> Result<()> {
    for (network, via) in [("198.18.0.0/15", to.ipv4.to_string()), ("2001:2::/48", to.ipv6.to_string())] {
        host.namespace.ip(&["route", "replace", network, "via", &via, "dev", &host.interface])?;
    }
    Ok(())
}

/// A flood that flows. It ends when it is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    started: Instant,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What a flood was.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Frames that were offered to the interface.
    pub frames: u64,
    /// How long it flowed.
    pub time: Duration,
}

impl Flooded {
    /// Millions of frames per second.
    pub fn mpps(&self) -> f64 {
        self.frames as f64 / self.time.as_secs_f64().max(1e-9) / 1e6
    }
}

impl Flood {
    /// Sends these frames round and round from the host's interface, at most `rate` of them a second.
    ///
    /// # Errors
    /// If there are no frames, or the kernel gives no socket.
    pub fn start(host: &Host, frames: Vec<Vec<u8>>, rate: Option<u32>) -> Result<Self> {
        Self::start_on(None, host, frames, rate)
    }

    /// The same from one processor, if that is given: over veth the XDP program at the other end runs on it as well.
    ///
    /// # Errors
    /// If there are no frames, or the kernel gives no socket.
    pub fn start_on(cpu: Option<usize>, host: &Host, frames: Vec<Vec<u8>>, rate: Option<u32>) -> Result<Self> {
        if frames.is_empty() {
            return Err(anyhow!("a flood of nothing"));
        }
        let open = || sys::flood_socket(sys::interface_index(&host.interface)?);
        let socket = host.namespace.run(open).with_context(|| format!("packet socket on {}", host.interface))?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let started = Instant::now();
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || -> Result<()> {
            if let Some(cpu) = cpu {
                cpus::keep_to(&[cpu])?;
            }
            let mut batches = frames.chunks(BATCH).cycle();
            while !stopped.load(Ordering::Relaxed) {
                let batch = batches.next().context("there are frames")?;
                sys::send_many(socket.as_fd(), batch).context("cannot send frames")?;
                let sent = count.fetch_add(batch.len() as u64, Ordering::Relaxed) + batch.len() as u64;
                if let Some(rate) = rate {
                    let due = Duration::from_secs_f64(sent as f64 / f64::from(rate));
                    std::thread::sleep(due.saturating_sub(started.elapsed()));
                }
            }
            Ok(())
        });
        Ok(Self { stop, sent, started, thread: Some(thread) })
    }

    /// What it was until now.
    pub fn so_far(&self) -> Flooded {
        Flooded { frames: self.sent.load(Ordering::Relaxed), time: self.started.elapsed() }
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it has ended by itself, because the kernel did not take its frames.
    pub fn stop(mut self) -> Result<Flooded> {
        let flooded = self.so_far();
        self.end()?;
        Ok(flooded)
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(anyhow!("the flood's thread has panicked")),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Whoever wants to know how it went asks by `stop`.
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pair, PairConfig, require_root};
    use std::collections::HashSet;

    #[test]
    fn frames_differ() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let sources: HashSet<IpAddr> = (0..FRAMES).map(|number| address_of(number, family)).collect();
            assert!(sources.len() > FRAMES as usize * 9 / 10, "{family:?}: {}", sources.len());
        }
        assert_eq!(address_of(0, Family::Ipv4).to_string(), "198.18.0.0");
        assert_eq!(address_of(5, Family::Ipv6).to_string(), "2001:2::5:0:1");
        let highest = (0..FRAMES).map(|number| address_of(number, Family::Ipv4)).max().unwrap();
        assert!(highest.to_string().starts_with("198.19."), "{highest}");
    }

    #[test]
    fn a_flood_flows_at_its_rate_and_ends() {
        if !require_root() {
            return;
        }
        let pair = Pair::create("flood", &PairConfig::default()).unwrap();
        let frames = Garbage::BadTag.frames(&pair.left, &pair.right, Family::Ipv4, 6000, 5000);
        let right = pair.right.packet_socket().unwrap();
        let flood = Flood::start(&pair.left, frames.clone(), Some(10_000)).unwrap();
        let got = right.receive(Duration::from_secs(5), |frame| frames[..3].iter().any(|sent| sent == frame)).unwrap();
        assert!(got.is_some());
        while flood.so_far().frames < 2000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let flooded = flood.stop().unwrap();
        assert!(flooded.time > Duration::from_millis(150), "not faster than its rate: {flooded:?}");
        assert!(flooded.mpps() < 0.015, "{flooded:?}");
    }
}
