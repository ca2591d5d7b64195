//! Frames for the tests of this crate: an SCTP packet with one DATA chunk between two hosts.

/// The SCTP packet: ports 5001 to 38412, tag 0x12345678, a DATA chunk of 20 bytes, the right checksum.
pub(crate) fn packet() -> Vec<u8> {
    let mut packet = vec![0x13, 0x89, 0x96, 0x0c, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0];
    packet.extend([0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 60, 0xde, 0xad, 0xbe, 0xef]);
    let crc = crc32c::crc32c(&packet);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    packet
}

/// `payload` over IPv4 with `options` in the header, without Ethernet.
pub(crate) fn ipv4_packet(options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let [l0, l1] = ((header_len + payload.len()) as u16).to_be_bytes();
    let mut packet = vec![0x40 | (header_len / 4) as u8, 2, l0, l1, 0, 7, 0x40, 0, 64, 132, 0, 0];
    packet.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(options);
    repair(&mut packet);
    packet.extend(payload);
    packet
}

/// Makes the header checksum of an IPv4 packet right.
pub(crate) fn repair(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let header_len = (usize::from(packet[0] & 0xf) * 4).min(packet.len());
    let mut sum: u32 = packet[..header_len].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[10..12].copy_from_slice(&(!sum as u16).to_be_bytes());
}

/// `payload` over IPv6 behind `extensions`, each its type and bytes, without Ethernet.
pub(crate) fn ipv6_packet(extensions: &[(u8, &[u8])], upper: u8, payload: &[u8]) -> Vec<u8> {
    let kinds: Vec<u8> = extensions.iter().map(|(kind, _)| *kind).chain([upper]).collect();
    let mut chain = Vec::new();
    for ((_, bytes), next) in extensions.iter().zip(&kinds[1..]) {
        chain.push(*next);
        chain.extend(&bytes[1..]);
    }
    let [l0, l1] = ((chain.len() + payload.len()) as u16).to_be_bytes();
    let mut packet = vec![0x60, 0x30, 0, 0, l0, l1, kinds[0], 64];
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(chain);
    packet.extend(payload);
    packet
}

/// An Ethernet frame with VLAN tags of the given types.
pub(crate) fn ethernet(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 100]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The packet over IPv4.
pub(crate) fn ipv4() -> Vec<u8> {
    ethernet(&[], 0x0800, &ipv4_packet(&[], &packet()))
}

/// The packet over IPv6.
pub(crate) fn ipv6() -> Vec<u8> {
    ethernet(&[], 0x86dd, &ipv6_packet(&[], 132, &packet()))
}

/// The packet over IPv4 behind two VLAN tags.
pub(crate) fn qinq() -> Vec<u8> {
    ethernet(&[0x88a8, 0x8100], 0x0800, &ipv4_packet(&[], &packet()))
}

/// Our UDP encapsulation port in the samples.
pub(crate) const UDP_PORT: u16 = 9899;

/// `payload` in UDP, from port 61000 to [`UDP_PORT`], without a checksum.
pub(crate) fn udp(payload: &[u8]) -> Vec<u8> {
    let mut packet = 61_000_u16.to_be_bytes().to_vec();
    packet.extend(UDP_PORT.to_be_bytes());
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

/// The UDP packet `udp`, whose checksum field is 0, with its checksum between two addresses as bytes.
pub(crate) fn udp_summed(mut udp: Vec<u8>, source: &[u8], destination: &[u8]) -> Vec<u8> {
    let pseudo = [source, destination, &[0, 17], &(udp.len() as u16).to_be_bytes(), &udp].concat();
    let mut sum: u32 =
        pseudo.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = if sum == 0xffff { 0xffff } else { !sum as u16 };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    udp
}

/// The packet in UDP over IPv4, with a checksum.
pub(crate) fn udp_ipv4() -> Vec<u8> {
    let mut packet = ipv4_packet(&[], &udp_summed(udp(&packet()), &[10, 0, 0, 1], &[10, 0, 0, 2]));
    packet[9] = 17;
    repair(&mut packet);
    ethernet(&[], 0x0800, &packet)
}

/// The packet in UDP over IPv6, with a checksum.
pub(crate) fn udp_ipv6() -> Vec<u8> {
    let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    ethernet(&[], 0x86dd, &ipv6_packet(&[], 17, &udp_summed(udp(&packet()), &address(1), &address(2))))
}
