//! Two endpoints, and a man in the middle who follows the fuzzer's bytes: packets are delivered, kept, lost, doubled, damaged, or
//! changed under a checksum that is made right again.
//!
//! As long as nothing was changed behind a right checksum the two are owed the truth: messages arrive once, whole, in order.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::{AssociationId, Connect, Ecn, EndpointConfig, Event, ListenConfig, Message};

use crate::association::{addresses, settings};
use crate::forge;
use crate::host::{Host, Sent};
use crate::input::Input;

/// No more instructions than these are carried out.
const MOST_STEPS: usize = 400;

/// What the man in the middle keeps at most; more is lost.
const MOST_KEPT: usize = 200;

const PORTS: [u16; 2] = [40_000, 5000];

/// Streams that messages are sent on.
const STREAMS: u16 = 3;

/// Runs a script.
pub fn pair(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut stage = Stage::begin(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < MOST_STEPS {
        stage.step(&mut input);
        steps += 1;
    }
    stage.ends.into_iter().for_each(|end| end.host.finish());
}

struct End {
    host: Host,
    id: Option<AssociationId>,
    /// Length of each message that it sent, by stream.
    sent: [Vec<usize>; STREAMS as usize],
    /// How many of each stream it has read.
    read: [usize; STREAMS as usize],
}

struct Stage {
    ends: [End; 2],
    /// Packets to each end.
    kept: [VecDeque<Sent>; 2],
    /// Nothing was changed behind a right checksum, and there has been one association.
    honest: bool,
}

impl Stage {
    fn begin(input: &mut Input<'_>) -> Self {
        let choices = [input.byte(), input.byte()];
        let end = |which: u8| {
            let config = EndpointConfig { addresses: addresses(which + 1), ..EndpointConfig::default() };
            End { host: Host::new(config, which), id: None, sent: [const { Vec::new() }; 3], read: [0; 3] }
        };
        let mut stage =
            Self { ends: [end(0), end(1)], kept: [const { VecDeque::new() }; 2], honest: choices[0] & 0x80 == 0 };
        let listen = ListenConfig { association: settings(choices[1]), ..ListenConfig::default() };
        stage.ends[1].host.endpoint.listen(PORTS[1], listen).expect("the settings are valid");
        stage.connect(0, choices[0]);
        if choices[0] & 0x40 == 0 {
            for _ in 0..8 {
                stage.deliver_all();
            }
        }
        stage
    }

    fn connect(&mut self, from: usize, choice: u8) {
        let peer = addresses(2 - from as u8);
        let connect = Connect {
            local_port: Some(PORTS[from]),
            peer_addresses: peer[..if choice & 0x20 == 0 { 1 } else { 2 }].to_vec(),
            config: settings(choice),
            ..Connect::new(peer[0], PORTS[1 - from])
        };
        let end = &mut self.ends[from];
        if let Ok(id) = end.host.endpoint.connect(end.host.now, connect) {
            end.id = Some(id);
        }
        end.host.settle();
        self.collect();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let code = input.byte();
        let which = usize::from(code & 1);
        match (code >> 1) % 20 {
            0..=2 => self.deliver(which, 0),
            3 => {
                let at = usize::from(input.byte());
                self.deliver(which, at);
            }
            4 => self.deliver_all(),
            5 => drop(self.kept[which].remove(usize::from(input.byte()))),
            6 => {
                if let Some(sent) = self.kept[which].get(usize::from(input.byte())).cloned() {
                    self.kept[which].push_back(sent);
                }
            }
            7 => self.damage(which, input, false),
            8 | 9 => self.damage(which, input, true),
            10 => self.splice(which, input),
            11 => {
                if let Some(sent) = self.kept[which].front_mut().filter(|sent| sent.ecn != Ecn::NotEct) {
                    sent.ecn = Ecn::Ce;
                }
            }
            12 => self.pass(Duration::from_millis(u64::from(input.byte()))),
            13 => self.pass(Duration::from_millis(u64::from(input.short()) * 10)),
            14 => {
                let next = self.ends.iter_mut().filter_map(|end| {
                    let at = end.host.endpoint.poll_timeout()?;
                    Some(at - end.host.now)
                });
                if let Some(next) = next.min() {
                    self.pass(next.min(Duration::from_secs(600)));
                }
            }
            15 | 16 => self.say(which, input),
            17 => self.read(which),
            18 => self.act(which, input),
            _ => {
                // One clock leaps.
                self.ends[which].host.leap(Duration::from_secs(u64::from(input.byte())));
                self.collect();
            }
        }
    }

    /// Takes what both have sent, and what they were told.
    fn collect(&mut self) {
        for from in 0..2 {
            let end = &mut self.ends[from];
            for (id, event) in end.host.events.drain(..) {
                match event {
                    Event::Accepted { .. } => {
                        // A second association: its messages are not told from the first one's.
                        self.honest &= end.id.is_none();
                        end.id = Some(id);
                    }
                    Event::Restarted { .. } => self.honest = false,
                    _ => {}
                }
            }
            let queue = &mut self.kept[1 - from];
            for sent in end.host.sent.drain(..) {
                if queue.len() < MOST_KEPT {
                    queue.push_back(sent);
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, at: usize) {
        if let Some(sent) = self.kept[to].remove(at) {
            self.ends[to].host.handle(sent.source, sent.destination, &sent.bytes, sent.ecn);
            self.collect();
        }
    }

    fn deliver_all(&mut self) {
        for to in 0..2 {
            for _ in 0..self.kept[to].len() {
                self.deliver(to, 0);
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.ends.iter_mut().for_each(|end| end.host.pass(duration));
        self.collect();
    }

    /// Changes a packet that is on its way; with `seal`, so that the checksum does not tell.
    fn damage(&mut self, to: usize, input: &mut Input<'_>, seal: bool) {
        let (at, how, place, value) = (input.byte(), input.byte(), input.short(), input.byte());
        let Some(sent) = self.kept[to].get_mut(usize::from(at)) else { return };
        if sent.bytes.is_empty() {
            // Cut down to nothing before.
            return;
        }
        let place = usize::from(place) % sent.bytes.len();
        match how & 7 {
            0..=2 => sent.bytes[place] ^= value.max(1),
            3 => sent.bytes[place] = value,
            4 => sent.bytes.truncate(place),
            5 => sent.bytes.extend(core::iter::repeat_n(value, place & 63)),
            6 => sent.source = addresses(2 - to as u8)[usize::from(value) % 2],
            _ => sent.source = IpAddr::from([192, 0, 2, value]),
        }
        if seal {
            forge::seal(&mut sent.bytes);
            self.honest = false;
        }
    }

    /// Puts chunks of one packet behind those of another.
    fn splice(&mut self, to: usize, input: &mut Input<'_>) {
        let (one, other) = (usize::from(input.byte()), usize::from(input.byte()));
        let Some(tail) = self.kept[to].get(other).and_then(|sent| sent.bytes.get(12..)).map(<[u8]>::to_vec) else {
            return;
        };
        if let Some(sent) = self.kept[to].get_mut(one) {
            sent.bytes.extend(tail);
            sent.bytes.truncate(2000);
            forge::seal(&mut sent.bytes);
            self.honest = false;
        }
    }

    /// An application sends. Each message tells its stream, its number and, by that, its length.
    fn say(&mut self, from: usize, input: &mut Input<'_>) {
        let (choice, length) = (input.byte(), usize::from(input.short() >> (input.byte() & 7)).max(1));
        let end = &mut self.ends[from];
        let Some(id) = end.id else { return };
        let stream = u16::from(choice) % STREAMS;
        let sent = &mut end.sent[usize::from(stream)];
        let payload = Bytes::from(vec![sent.len() as u8; length]);
        // Some for a certain address, which need not be the peer's.
        let destination = (choice & 0x40 != 0).then(|| addresses(2 - from as u8)[usize::from(choice >> 4) & 1]);
        let message = Message { immediate: choice & 0x80 != 0, destination, ..Message::new(stream, payload) };
        if end.host.endpoint.send(end.host.now, id, message).is_ok() {
            sent.push(length);
        }
        end.host.settle();
        self.collect();
    }

    /// An application reads all there is.
    fn read(&mut self, which: usize) {
        let Some(id) = self.ends[which].id else { return };
        while let Some(message) = self.ends[which].host.recv(id) {
            let stream = usize::from(message.stream);
            if !self.honest {
                continue;
            }
            let number = self.ends[which].read[stream];
            self.ends[which].read[stream] += 1;
            let sent = self.ends[1 - which].sent[stream].get(number);
            assert_eq!(sent, Some(&message.len()), "message {number} of stream {stream}");
            let right = message.payload.iter().all(|part| part.iter().all(|byte| *byte == number as u8));
            assert!(right, "message {number} of stream {stream} is not what it was");
        }
        self.collect();
    }

    /// An application does something rarer.
    fn act(&mut self, which: usize, input: &mut Input<'_>) {
        let choice = input.byte();
        let end = &mut self.ends[which];
        let (now, endpoint) = (end.host.now, &mut end.host.endpoint);
        let address = addresses(2 - which as u8)[usize::from(choice >> 4) % 2];
        match (choice & 15, end.id) {
            (0..=5, Some(id)) => drop(endpoint.shutdown(now, id)),
            (6, Some(id)) => drop(endpoint.abort(now, id, Bytes::from_static(b"because"))),
            (7 | 8, Some(id)) => drop(endpoint.set_primary(now, id, address)),
            (9, Some(id)) => drop(endpoint.set_path_mtu(now, id, address, input.short())),
            (10, Some(id)) => drop(endpoint.request_heartbeat(now, id, address)),
            // Both connect; or again, after an end.
            (11 | 12, _) => {
                self.honest &= self.ends.iter().all(|end| end.sent.iter().all(Vec::is_empty));
                return self.connect(which, choice >> 4);
            }
            _ => {}
        }
        self.ends[which].host.settle();
        self.collect();
    }
}
