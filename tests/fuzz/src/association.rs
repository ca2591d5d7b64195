//! A whole association: one endpoint, against a peer that the fuzzer's bytes make up.
//!
//! The bytes are a script. Its first two choose the settings, and how far the association has come before the script takes over; from
//! there on each instruction is a byte and what it needs: chunks are gathered, by the book or not, and sent with the right or a
//! wrong tag and checksum, from this or that address; time passes; the application acts. Much of a script is relative to what
//! the endpoint does (its tag, its TSNs, what it has just sent), so that bytes which mean nothing reach deep states, too.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::wire::{Chunk, CommonHeader, Packet};
use sctp_core::{AssociationConfig, AssociationId, Connect, Ecn, EndpointConfig, Handled, ListenConfig, Message};

use crate::forge;
use crate::host::{Host, Sent};
use crate::input::Input;

/// No more instructions than these are carried out.
const MOST_STEPS: usize = 400;

const OWN_PORT: u16 = 5000;
const PEER_PORT: u16 = 40_000;
const PEER_TAG: u32 = 0x0a0b_0c0d;
const COOKIE: &[u8] = b"a peer's cookie.";

/// Runs a script.
pub fn association(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut stage = Stage::begin(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < MOST_STEPS {
        stage.step(&mut input);
        steps += 1;
    }
    stage.host.finish();
}

/// Our addresses and the peer's.
pub(crate) fn addresses(host: u8) -> Vec<IpAddr> {
    vec![
        IpAddr::from([10, 0, 0, host]),
        IpAddr::from([10, 0, 1, host]),
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)]),
    ]
}

/// Settings, some of them narrow, so that limits are reached.
pub(crate) fn settings(choice: u8) -> AssociationConfig {
    let base = match choice & 3 {
        0 => AssociationConfig::default(),
        1 => AssociationConfig::rfc(),
        2 => AssociationConfig::signalling(),
        _ => AssociationConfig::ran(),
    };
    if choice & 4 == 0 {
        return base;
    }
    AssociationConfig {
        receive_buffer: 6000,
        send_buffer: 5000,
        max_message_size: 4000,
        outbound_streams: 4,
        max_inbound_streams: 4,
        max_gaps: 3,
        max_partial_messages: 2,
        max_outstanding: 5,
        max_paths: 2,
        path_mtu: 576,
        nagle: choice & 8 != 0,
        sack_early: choice & 16 != 0,
        ..base
    }
}

struct Stage {
    host: Host,
    /// Its association, as it was last.
    id: Option<AssociationId>,
    /// The peer's TSN that is next, and the endpoint's that was sent last.
    next_tsn: u32,
    sent_tsn: u32,
    /// The endpoint's tag as it announced it last.
    tag: u32,
    /// Chunks for the next packet.
    pending: Vec<u8>,
    /// What the endpoint sent last.
    heard: Vec<Sent>,
}

impl Stage {
    fn begin(input: &mut Input<'_>) -> Self {
        let (how_far, choice) = (input.byte(), input.byte());
        let config = settings(choice);
        let endpoint = EndpointConfig { addresses: addresses(1), max_associations: 3, ..EndpointConfig::default() };
        let mut stage = Self {
            host: Host::new(endpoint, 7),
            id: None,
            next_tsn: u32::MAX - 5,
            sent_tsn: 0,
            tag: 0,
            pending: Vec::new(),
            heard: Vec::new(),
        };
        let serves = how_far & 1 == 0;
        if serves {
            let listen = ListenConfig { association: config, ..ListenConfig::default() };
            stage.host.endpoint.listen(OWN_PORT, listen).expect("the settings are valid");
        } else {
            let connect = Connect {
                local_port: Some(OWN_PORT),
                peer_addresses: addresses(2)[..2].to_vec(),
                config,
                ..Connect::new(addresses(2)[0], PEER_PORT)
            };
            stage.id = Some(stage.host.endpoint.connect(stage.host.now, connect).expect("the settings are valid"));
            stage.host.settle();
            stage.listen();
        }
        if how_far & 2 == 0 {
            if serves {
                stage.gather_init(1);
                stage.send(0, 0, false);
            }
            // INIT or INIT ACK, then COOKIE ECHO or COOKIE ACK.
            stage.answer(0);
            stage.send(0, 0, false);
            if !serves {
                stage.answer(0);
                stage.send(0, 0, false);
            }
        }
        stage
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 24 {
            0 => {
                let (chunk_type, flags) = (input.byte(), input.byte());
                forge::chunk(&mut self.pending, chunk_type, flags, input.block());
            }
            1 => self.pending.extend(input.block()),
            2..=4 => self.gather_data(input),
            5 | 6 => self.gather_sack(input),
            7 => {
                let back = input.byte();
                self.answer(usize::from(back));
            }
            8 => {
                // SHUTDOWN.
                let cumulative = self.sent_tsn.wrapping_sub(u32::from(input.byte()));
                forge::chunk(&mut self.pending, 7, 0, &cumulative.to_be_bytes());
            }
            9 => self.gather_init(input.byte()),
            10..=12 => {
                let (tag, from) = (input.byte(), input.byte());
                self.send(tag, from, false);
            }
            13 => self.send(0, 0, true),
            14 => {
                let bytes = input.block().to_vec();
                self.deliver(0, &bytes, Ecn::NotEct);
            }
            15 => self.host.pass(Duration::from_millis(u64::from(input.byte()))),
            16 => self.host.pass(Duration::from_millis(u64::from(input.short()) * 10)),
            17 => self.host.pass_to_next_timer(Duration::from_secs(3600)),
            18 => self.host.leap(Duration::from_secs(u64::from(input.short()))),
            19 | 20 => self.say(input),
            21 => self.read(input),
            22 => self.act(input),
            _ => {
                // A burst: the same chunks, again and again.
                let times = input.byte() & 15;
                let pending = self.pending.clone();
                for _ in 0..times {
                    self.pending.clone_from(&pending);
                    self.send(0, 0, false);
                }
            }
        }
        self.listen();
    }

    /// Learns from what the endpoint has sent.
    fn listen(&mut self) {
        for sent in self.host.sent.drain(..) {
            if let Ok(packet) = Packet::parse(&sent.bytes) {
                for chunk in packet.chunks().filter_map(Result::ok).filter_map(|raw| Chunk::parse(raw).ok()) {
                    match chunk {
                        Chunk::Init(init) => (self.tag, self.sent_tsn) = (init.initiate_tag, init.initial_tsn.0 - 1),
                        Chunk::InitAck(ack) => {
                            (self.tag, self.sent_tsn) = (ack.0.initiate_tag, ack.0.initial_tsn.0.wrapping_sub(1));
                        }
                        Chunk::Data(data) if data.header.tsn.0.wrapping_sub(self.sent_tsn) < 1 << 31 => {
                            self.sent_tsn = data.header.tsn.0;
                        }
                        _ => {}
                    }
                }
            }
            self.heard.insert(0, sent);
        }
        self.heard.truncate(32);
        if let Some((id, _)) = self.host.events.last() {
            self.id = Some(*id);
        }
    }

    /// Adds DATA whose TSN is near the next one.
    fn gather_data(&mut self, input: &mut Input<'_>) {
        let (flags, offset, stream, ssn) = (input.byte(), input.byte() as i8, input.byte(), input.byte());
        let length = usize::from(input.byte()) * 6;
        let tsn = self.next_tsn.wrapping_add_signed(i32::from(offset));
        if offset == 0 {
            self.next_tsn = self.next_tsn.wrapping_add(1);
        }
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend([0, stream, 0, ssn, 0, 0, 0, 0]);
        value.resize(12 + length, 0x5a);
        forge::chunk(&mut self.pending, 0, flags & 0x0f, &value);
    }

    /// Adds a SACK for what the endpoint has sent.
    fn gather_sack(&mut self, input: &mut Input<'_>) {
        let (back, window, counts) = (input.byte() as i8, input.byte(), input.byte());
        let (gaps, duplicates) = (counts & 7, counts >> 6);
        let mut value = self.sent_tsn.wrapping_sub(back as u32).to_be_bytes().to_vec();
        value.extend((u32::from(window) << 10).to_be_bytes());
        value.extend([0, gaps, 0, duplicates]);
        for _ in 0..gaps {
            value.extend([0, input.byte(), 0, input.byte()]);
        }
        for _ in 0..duplicates {
            value.extend(self.next_tsn.wrapping_sub(u32::from(input.byte())).to_be_bytes());
        }
        forge::chunk(&mut self.pending, 3, 0, &value);
    }

    /// Adds an INIT or INIT ACK: of this peer, of one that restarts, with more addresses.
    fn gather_init(&mut self, choice: u8) {
        let tag = if choice & 2 == 0 { PEER_TAG } else { PEER_TAG + 1 };
        let mut parameters = Vec::new();
        if choice & 4 != 0 {
            parameters.extend([0, 5, 0, 8, 10, 0, 1, 2]);
        }
        if choice & 8 != 0 {
            parameters.extend([0, 5, 0, 8, 10, 0, 2, 2]);
        }
        let kind = if choice & 1 == 0 { 2 } else { 1 };
        if kind == 2 {
            forge::parameter(&mut parameters, 7, COOKIE);
        }
        let value = forge::init(tag, 20_000, (10, 10), self.next_tsn, &parameters);
        forge::chunk(&mut self.pending, kind, 0, &value);
    }

    /// Adds what an honest peer would answer to a packet of the endpoint's.
    fn answer(&mut self, back: usize) {
        self.listen();
        let Some(heard) = self.heard.get(back).cloned() else { return };
        let Ok(packet) = Packet::parse(&heard.bytes) else { return };
        for chunk in packet.chunks().filter_map(Result::ok).filter_map(|raw| Chunk::parse(raw).ok()) {
            match chunk {
                Chunk::Init(_) => self.gather_init(0),
                Chunk::InitAck(ack) => {
                    if let Ok(Some(cookie)) = ack.state_cookie() {
                        forge::chunk(&mut self.pending, 10, 0, cookie);
                    }
                }
                Chunk::CookieEcho(_) => forge::chunk(&mut self.pending, 11, 0, &[]),
                Chunk::Heartbeat(heartbeat) => {
                    let mut information = Vec::new();
                    forge::parameter(&mut information, 1, heartbeat.info);
                    forge::chunk(&mut self.pending, 5, 0, &information);
                }
                Chunk::Shutdown(_) => forge::chunk(&mut self.pending, 8, 0, &[]),
                Chunk::ShutdownAck => forge::chunk(&mut self.pending, 14, 0, &[]),
                Chunk::Data(data) => {
                    let mut value = data.header.tsn.0.to_be_bytes().to_vec();
                    value.extend([0, 0, 0x40, 0, 0, 0, 0, 0]);
                    forge::chunk(&mut self.pending, 3, 0, &value);
                }
                _ => {}
            }
        }
    }

    /// Sends the chunks that have been gathered.
    fn send(&mut self, tag: u8, from: u8, damaged: bool) {
        self.listen();
        let chunks = core::mem::take(&mut self.pending);
        // An INIT has tag 0.
        let right = if chunks.first() == Some(&1) { 0 } else { self.tag };
        let verification_tag = match tag {
            0..=250 => right,
            251 => 0,
            252 => PEER_TAG,
            253 => right ^ 1,
            254 => PEER_TAG + 1,
            255 => self.tag,
        };
        let header = CommonHeader { source_port: PEER_PORT, destination_port: OWN_PORT, verification_tag };
        let mut bytes = forge::packet(header, &chunks);
        if damaged {
            bytes[8] ^= 0x55;
        }
        let ecn = Ecn::from_bits(from >> 4);
        let handled = self.deliver(usize::from(from & 15), &bytes, ecn);
        assert!(!damaged || matches!(handled, Handled::Dropped(_)));
        self.listen();
    }

    fn deliver(&mut self, from: usize, bytes: &[u8], ecn: Ecn) -> Handled {
        let (peer, own) = (addresses(2), addresses(1));
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let source = peer.get(from).copied().unwrap_or(if from == 15 { stranger } else { peer[0] });
        let destination = own[if source.is_ipv4() { from & 1 } else { 2 }];
        self.host.handle(source, destination, bytes, ecn)
    }

    /// The application sends.
    fn say(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.id else { return };
        let (stream, flags, length) = (input.byte(), input.byte(), input.short() >> (input.byte() & 7));
        let mut message = Message::new(u16::from(stream & 7), Bytes::from(vec![0x77; usize::from(length)]));
        message.unordered = flags & 1 != 0;
        message.immediate = flags & 2 != 0;
        // It may be refused, for any reason.
        let _ = self.host.endpoint.send(self.host.now, id, message);
        self.host.settle();
    }

    /// The application reads.
    fn read(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.id else { return };
        for _ in 0..=input.byte() & 7 {
            if self.host.recv(id).is_none() {
                break;
            }
        }
    }

    /// The application does something rarer.
    fn act(&mut self, input: &mut Input<'_>) {
        let Some(id) = self.id else { return };
        let (choice, now) = (input.byte(), self.host.now);
        let address = addresses(2)[usize::from(choice >> 4) % 3];
        let endpoint = &mut self.host.endpoint;
        // All of them may be refused.
        let _ = match choice & 15 {
            0..=4 => endpoint.shutdown(now, id),
            5 => endpoint.abort(now, id, Bytes::from_static(b"because")),
            6 | 7 => endpoint.set_primary(now, id, address),
            8 | 9 => endpoint.set_path_mtu(now, id, address, input.short()),
            10 => endpoint.request_heartbeat(now, id, address),
            11 => endpoint.set_failure_threshold(now, id, address, u32::from(choice >> 4)),
            12 => {
                endpoint.release(id);
                Ok(())
            }
            13 => {
                let connect = Connect {
                    local_port: Some(OWN_PORT),
                    config: settings(choice >> 4),
                    ..Connect::new(addresses(2)[0], PEER_PORT)
                };
                self.id = endpoint.connect(now, connect).ok().or(self.id);
                Ok(())
            }
            14 => {
                endpoint.unlisten(OWN_PORT);
                Ok(())
            }
            _ => {
                let listen = ListenConfig { association: settings(choice >> 4), ..ListenConfig::default() };
                let _ = endpoint.listen(OWN_PORT, listen);
                Ok(())
            }
        };
        self.host.settle();
    }
}

#[cfg(test)]
mod tests {
    use sctp_core::AssociationState;

    use super::*;

    /// A script that begins nowhere finds nothing.
    #[test]
    fn scripts_begin_where_they_say() {
        let state = |how_far: u8, settings: u8| {
            let stage = Stage::begin(&mut Input::new(&[how_far, settings]));
            stage.id.and_then(|id| stage.host.endpoint.association(id)).map(sctp_core::Association::state)
        };
        for settings in 0..32 {
            assert_eq!(state(0, settings), Some(AssociationState::Established));
            assert_eq!(state(1, settings), Some(AssociationState::Established));
            assert_eq!(state(2, settings), None);
            assert_eq!(state(3, settings), Some(AssociationState::CookieWait));
        }
    }
}
