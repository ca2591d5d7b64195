//! What the core costs, without I/O: `cargo bench -p sctp-core`.
//!
//! Two endpoints in one thread; only the side that is measured is timed. The figures are the best of several rounds, in
//! nanoseconds; checksums are left out (the XDP program or the link has verified them, and `crc32c` is measured by itself).
//!
//! `cargo bench -p sctp-core --bench core -- bundle gaps` runs those whose names have one of these words. What is timed is a function of
//! its own, so instructions can be counted where clocks are too noisy:
//! `valgrind --tool=callgrind --toggle-collect='core::send_bundled' target/release/deps/core-… bundle`.
#![expect(clippy::disallowed_types, reason = "a benchmark reads a clock")]
#![expect(clippy::disallowed_methods, reason = "and its arguments")]

use std::net::IpAddr;
use std::time::{Duration, Instant as Clock};

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::wire::{Checksum, Chunk, CommonHeader, GapAckBlock, Packet, Sack, Writer};
use sctp_core::{
    AssociationConfig, AssociationId, ChecksumState, Connect, Datagram, Ecn, Endpoint, EndpointConfig, Event,
    ListenConfig, Message, SharedPayload,
};

const PORT: u16 = 3868;
const ADDRESSES: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];

struct Pair {
    ends: [Endpoint; 2],
    ids: [AssociationId; 2],
    now: Instant,
}

/// Buffers as a ring of a link would give them.
struct Sent {
    buffers: Vec<[u8; 1480]>,
    lens: Vec<usize>,
}

impl Sent {
    fn new() -> Self {
        Self { buffers: vec![[0; 1480]; 1024], lens: Vec::with_capacity(1024) }
    }

    fn clear(&mut self) {
        self.lens.clear();
    }

    fn fetch(&mut self, end: &mut Endpoint, now: Instant) {
        while let Some(transmit) = end.poll_transmit(now, &mut self.buffers[self.lens.len()]) {
            self.lens.push(transmit.len);
        }
    }

    fn packets(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.buffers.iter().zip(&self.lens).map(|(buffer, len)| Bytes::copy_from_slice(&buffer[..*len]))
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let run = |name: &str, bench: fn()| {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            bench();
        }
    };
    run("data", data_in_sack_out);
    run("bundle", messages_bundled);
    run("gaps", sack_with_gaps);
    run("handshakes", handshakes);
    run("timers", || timers(1000));
    run("timers", || timers(100_000));
    println!("{:<58} {:>9} bytes", "an association (struct)", size_of::<sctp_core::Association>());
}

fn report(what: &str, per: Duration) {
    println!("{what:<58} {:>9.1} ns", per.as_nanos() as f64);
}

fn data_in_sack_out() {
    let mut pair = Pair::new();
    pair.warm_up();
    let mut best = Duration::MAX;
    let mut sent = Sent::new();
    for _ in 0..300 {
        pair.fill(0, 1400, 256);
        let packets = pair.fetch(0);
        sent.clear();
        let start = Clock::now();
        receive_data(&mut pair, &packets, &mut sent);
        best = best.min(start.elapsed() / packets.len() as u32);
        for packet in sent.packets() {
            pair.deliver(0, &packet);
        }
        pair.exchange();
    }
    report("one DATA chunk of 1400 bytes in, a SACK for every second", best);
}

#[inline(never)]
fn receive_data(pair: &mut Pair, packets: &[Bytes], sent: &mut Sent) {
    for batch in packets.chunks(2) {
        for packet in batch {
            pair.deliver(1, packet);
            while pair.ends[1].recv(pair.ids[1]).is_some() {}
        }
        sent.fetch(&mut pair.ends[1], pair.now);
    }
}

fn messages_bundled() {
    let mut pair = Pair::new();
    pair.warm_up();
    let payload = Bytes::from(vec![7; 64]);
    let mut best = Duration::MAX;
    const COUNT: u32 = 170;
    let mut sent = Sent::new();
    for _ in 0..2000 {
        sent.clear();
        let start = Clock::now();
        send_bundled(&mut pair, &payload, COUNT, &mut sent);
        best = best.min(start.elapsed() / COUNT);
        for packet in sent.packets() {
            pair.deliver(1, &packet);
        }
        pair.exchange();
    }
    report("one message of 64 bytes sent in a bundle", best);
}

#[inline(never)]
fn send_bundled(pair: &mut Pair, payload: &Bytes, count: u32, sent: &mut Sent) {
    for _ in 0..count {
        pair.ends[0].send(pair.now, pair.ids[0], Message::new(0, payload.clone())).unwrap();
    }
    sent.fetch(&mut pair.ends[0], pair.now);
}

fn sack_with_gaps() {
    let mut pair = Pair::new();
    pair.warm_up();
    let association = pair.ends[0].association(pair.ids[0]).unwrap();
    let (tag, port) = (association.local_tag(), association.local_port());
    pair.fill(0, 100, 10_000);
    let packets = pair.fetch(0);
    assert_eq!(
        pair.ends[0].association(pair.ids[0]).unwrap().outstanding_chunks(),
        10_000,
        "cwnd and Max.Burst allow it"
    );
    let first = Packet::parse(&packets[0]).unwrap().chunks().last().unwrap().and_then(Chunk::parse);
    let Ok(Chunk::Data(data)) = first else { panic!("a packet without DATA") };
    // The last chunk of the first packet is no matter: all that counts is that the blocks lie within what is outstanding.
    let cumulative = data.header.tsn;
    let mut best = Duration::MAX;
    for step in 0..200_u16 {
        let blocks: Vec<GapAckBlock> =
            (0..20).map(|at| GapAckBlock { start: 490 * at + 2, end: 490 * at + 2 + step }).collect();
        let mut bytes = vec![0; 200];
        let header = CommonHeader { source_port: PORT, destination_port: port, verification_tag: tag };
        let mut writer = Writer::new(&mut bytes, header).unwrap();
        let sack = Sack {
            cumulative_tsn_ack: cumulative,
            a_rwnd: 1 << 20,
            gap_ack_blocks: blocks.iter().copied(),
            duplicate_tsns: core::iter::empty(),
        };
        writer.chunk(&sack).unwrap();
        let len = writer.finish(Checksum::Zero);
        bytes.truncate(len);
        let bytes = Bytes::from(bytes);
        let start = Clock::now();
        pair.deliver(0, &bytes);
        let took = start.elapsed();
        // The first three mark what is lost.
        if step > 3 {
            best = best.min(took);
        }
        pair.fetch(0);
    }
    report("a SACK with 20 gap ack blocks over 10 000 outstanding", best);
}

fn handshakes() {
    let mut pair = Pair::new();
    const COUNT: u32 = 1000;
    let mut best = Duration::MAX;
    for round in 0..20_u16 {
        let start = Clock::now();
        for at in 0..COUNT {
            let connect = Connect {
                local_port: Some(1000 + at as u16 + round * COUNT as u16),
                ..Connect::new(IpAddr::from(ADDRESSES[1]), PORT)
            };
            pair.ends[0].connect(pair.now, connect).unwrap();
            // INIT, INIT ACK, COOKIE ECHO, COOKIE ACK.
            for end in [0, 1, 0, 1] {
                for packet in pair.fetch(end) {
                    pair.deliver(1 - end, &packet);
                }
            }
        }
        best = best.min(start.elapsed() / COUNT);
    }
    assert_eq!(pair.ends[1].associations().count(), 20_001);
    report("a handshake, both sides", best);
}

/// What a HEARTBEAT costs that is due, with all that timers do for it, when so many associations are idle: the same for few and many.
fn timers(associations: u32) {
    let mut pair = Pair::new();
    for port in [PORT + 1, PORT + 2] {
        pair.ends[1].listen(port, ListenConfig::default()).unwrap();
    }
    for at in 0..associations {
        let connect = Connect {
            local_port: Some(1000 + (at / 2) as u16),
            ..Connect::new(IpAddr::from(ADDRESSES[1]), PORT + 1 + (at % 2) as u16)
        };
        pair.ends[0].connect(pair.now, connect).unwrap();
        for end in [0, 1, 0, 1] {
            for packet in pair.fetch(end) {
                pair.deliver(1 - end, &packet);
            }
        }
        // They do not all begin at the same time.
        pair.now += Duration::from_secs(20) / associations;
    }
    let (mut best, mut sent) = (Duration::MAX, Sent::new());
    for _ in 0..20 {
        let (mut spent, mut due) = (Duration::ZERO, 0);
        while due < 500 {
            pair.now += Duration::from_millis(1);
            sent.clear();
            let start = Clock::now();
            pair.ends[0].handle_timeout(pair.now);
            sent.fetch(&mut pair.ends[0], pair.now);
            pair.ends[0].poll_timeout();
            spent += start.elapsed();
            due += sent.lens.len() as u32;
            for end in [1, 0] {
                let packets: Vec<Bytes> = if end == 1 { sent.packets().collect() } else { pair.fetch(1) };
                for packet in packets {
                    pair.deliver(end, &packet);
                }
            }
        }
        best = best.min(spent / due);
    }
    report(&format!("a HEARTBEAT that is due, among {associations} associations"), best);
}

impl Pair {
    fn new() -> Self {
        let config = AssociationConfig {
            receive_buffer: 1 << 28,
            send_buffer: 1 << 28,
            max_burst: 100_000,
            heartbeat_interval: None,
            ..AssociationConfig::default()
        };
        let end = |host: usize| {
            let config = EndpointConfig { checksum_offload: true, ..EndpointConfig::default() };
            Endpoint::new(config, [host as u8; 32])
        };
        let mut ends = [end(0), end(1)];
        ends[1].listen(PORT, ListenConfig { association: config.clone(), ..ListenConfig::default() }).unwrap();
        let now = Instant::from_millis(1);
        let connect = Connect { config, ..Connect::new(IpAddr::from(ADDRESSES[1]), PORT) };
        let id = ends[0].connect(now, connect).unwrap();
        let mut pair = Self { ends, ids: [id; 2], now };
        pair.exchange();
        let accepted = core::iter::from_fn(|| pair.ends[1].poll_event())
            .find_map(|(id, event)| matches!(event, Event::Accepted { .. }).then_some(id));
        pair.ids[1] = accepted.unwrap();
        pair
    }

    /// Opens the congestion window.
    fn warm_up(&mut self) {
        for _ in 0..100 {
            self.fill(0, 1400, 1000);
            self.exchange();
        }
    }

    fn fill(&mut self, end: usize, len: usize, count: usize) {
        let payload = Bytes::from(vec![7; len]);
        for _ in 0..count {
            self.ends[end].send(self.now, self.ids[end], Message::new(0, payload.clone())).unwrap();
        }
    }

    fn fetch(&mut self, end: usize) -> Vec<Bytes> {
        let mut buffer = [0; 1480];
        let mut packets = Vec::new();
        while let Some(transmit) = self.ends[end].poll_transmit(self.now, &mut buffer) {
            packets.push(Bytes::copy_from_slice(&buffer[..transmit.len]));
        }
        packets
    }

    fn deliver(&mut self, end: usize, packet: &Bytes) {
        let datagram = Datagram {
            source: IpAddr::from(ADDRESSES[1 - end]),
            destination: IpAddr::from(ADDRESSES[end]),
            encapsulation: None,
            ecn: Ecn::NotEct,
            checksum: ChecksumState::Verified,
            association: Some(self.ids[end]),
            bytes: packet,
            payload: &mut SharedPayload(packet),
        };
        self.ends[end].handle(self.now, datagram);
    }

    /// Packets to and fro until there are none.
    fn exchange(&mut self) {
        loop {
            self.now += Duration::from_micros(10);
            let mut any = false;
            for end in 0..2 {
                self.ends[end].handle_timeout(self.now);
                for packet in self.fetch(end) {
                    any = true;
                    self.deliver(1 - end, &packet);
                }
                while self.ends[1 - end].recv(self.ids[1 - end]).is_some() {}
            }
            let waiting = self.ends.iter().any(|end| end.associations().any(|a| a.outstanding_chunks() > 0));
            if !any && !waiting {
                return;
            }
        }
    }
}
