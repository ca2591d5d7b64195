//! What the XDP program and userspace share.
//!
//! Every rule that decides a packet's fate is written here once, as plain safe Rust without a standard library,
//! and compiled twice: for the BPF machine, where it runs in front of the network stack, and for the host, where it
//! is unit-tested, property-tested and compared with the compiled program packet by packet.
//!
//! | module | holds |
//! |---|---|
//! | [`wire`] | the protocol's numbers: header lengths, chunk types, parameter types, cause codes |
//! | [`frame`] | the decoder: Ethernet, VLAN tags, IPv4, IPv6, the SCTP common header, the first chunk's header |
//! | [`icmp`] | ICMP errors that quote a packet of ours |
//! | [`udp`] | the UDP checksum of SCTP in UDP (RFC 6951) |
//! | [`rules`] | verification tag rules (RFC 9260 §8.5, §8.5.1) and out-of-the-blue rules (§8.4) as pure functions |
//! | [`judge`] | the steps from a decoded packet to its owner, over whatever holds ports, tags and addresses |
//! | [`crc32c`] | the checksum, slicing-by-8, over a byte slice or over packet memory |
//! | [`init`] | which INITs are answered in front of the stack, and with which INIT ACK |
//! | [`reply`] | the packets that answer packets out of the blue |
//! | [`limit`] | how often they are sent |
//! | [`verdict`] | every fate a packet can have, with its name and its counter |
//! | [`sample`] | dropped packets that userspace is shown |
//! | [`steering`] | which worker owns a tag, over which worker a new peer is spread |
//! | [`cookie`] | the State Cookie: its layout, its MAC, its keys |
//! | [`siphash`] | SipHash-2-4, the keyed hash behind steering and cookies |
//! | [`metadata`] | the struct in front of each redirected frame |
//! | [`near`] | the table of verification tags that the program reads in place |
//! | [`maps`] | names, keys and values of the program's maps and globals |
//!
//! # Written for two machines
//!
//! The BPF verifier must be able to prove the compiled code safe and finite. That is why the decoder reads through
//! [`frame::Frame`] (whose implementation over packet memory checks each access against the packet's end, in the form
//! the verifier recognises), why every loop has a constant bound, and why nothing here allocates or recurses.
//! None of it needs `unsafe`.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod cookie;
pub mod crc32c;
pub mod frame;
pub mod icmp;
pub mod init;
pub mod judge;
pub mod limit;
pub mod maps;
pub mod metadata;
pub mod near;
pub mod reply;
pub mod rules;
pub mod sample;
pub mod siphash;
pub mod steering;
pub mod udp;
pub mod verdict;
pub mod wire;
