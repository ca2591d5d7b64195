//! State Cookies: none but those that the endpoint made, unchanged and in time, make an association.

use std::net::IpAddr;
use std::time::Duration;

use sctp_core::wire::{Chunk, CommonHeader, Packet};
use sctp_core::{Ecn, EndpointConfig, Event, ListenConfig};

use crate::association::{addresses, settings};
use crate::forge;
use crate::host::Host;
use crate::input::Input;

const HEADER: CommonHeader = CommonHeader { source_port: 40_000, destination_port: 5000, verification_tag: 0 };
const PEER_TAG: u32 = 0x0a0b_0c0d;

/// Bytes as a cookie, and as changes to one that is good.
pub fn cookie(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut host = Host::new(EndpointConfig { addresses: addresses(1), ..EndpointConfig::default() }, 7);
    let listen = ListenConfig { association: settings(input.byte()), ..ListenConfig::default() };
    host.endpoint.listen(5000, listen).expect("the settings are valid");
    let (how, tag) = (input.byte(), input.word());
    if how & 1 == 0 {
        let cookie = input.rest();
        echo(&mut host, cookie, tag, addresses(2)[0], &[]);
        assert_eq!(host.endpoint.associations().count(), 0, "a cookie that nobody made was taken");
    } else {
        changed(&mut host, how, &mut input);
    }
    host.finish();
}

/// A good cookie comes back: late, from elsewhere, or changed.
fn changed(host: &mut Host, how: u8, input: &mut Input<'_>) {
    let mut parameters = Vec::new();
    for address in 0..(how >> 1) & 3 {
        forge::parameter(&mut parameters, 5, &[10, 0, address, 2]);
    }
    let value = forge::init(PEER_TAG, 20_000, (10, 10), 1, &parameters);
    let mut chunk = Vec::new();
    forge::chunk(&mut chunk, 1, 0, &value);
    host.handle(addresses(2)[0], addresses(1)[0], &forge::packet(HEADER, &chunk), Ecn::NotEct);
    let answer = host.sent.pop().expect("an INIT is answered");
    let packet = Packet::parse(&answer.bytes).expect("the answer is sound");
    let (tag, good) = packet
        .chunks()
        .find_map(|raw| match Chunk::parse(raw.ok()?).ok()? {
            Chunk::InitAck(ack) => Some((ack.0.initiate_tag, ack.state_cookie().ok()??.to_vec())),
            _ => None,
        })
        .expect("by an INIT ACK with a cookie");

    let mut cookie = good.clone();
    for _ in 0..(how >> 3) & 3 {
        let at = usize::from(input.short()) % cookie.len();
        cookie[at] ^= input.byte();
    }
    if how & 0x20 != 0 {
        let change = input.short();
        match change & 1 {
            0 => cookie.truncate(usize::from(change >> 1) % (cookie.len() + 1)),
            _ => cookie.resize(cookie.len() + usize::from((change >> 1) & 0xff), input.byte()),
        }
    }
    let delay = Duration::from_millis(u64::from(input.short()) * 2);
    host.pass(delay);
    let tag = if how & 0x40 != 0 { tag ^ input.word() } else { tag };
    let source = if how & 0x80 != 0 { IpAddr::from([192, 0, 2, input.byte()]) } else { addresses(2)[0] };
    echo(host, &cookie, tag, source, input.rest());

    let associations = host.endpoint.associations().count();
    let accepted = host.events.iter().any(|(_, event)| matches!(event, Event::Accepted { .. }));
    // What comes after the MAC may have been counted in by mistake, as padding.
    if !cookie.starts_with(&good) {
        assert!(!accepted && associations == 0, "a changed cookie was taken");
    } else if delay > Duration::from_secs(60) {
        assert!(!accepted && associations == 0, "a cookie was taken {delay:?} after it was made");
    }
}

fn echo(host: &mut Host, cookie: &[u8], tag: u32, source: IpAddr, more: &[u8]) {
    let mut chunks = Vec::new();
    forge::chunk(&mut chunks, 10, 0, cookie);
    chunks.extend(more);
    let packet = forge::packet(CommonHeader { verification_tag: tag, ..HEADER }, &chunks);
    host.handle(source, addresses(1)[0], &packet, Ecn::NotEct);
}
