//! Which address of ours a path begins at, where the application has not bound any.

use core::net::IpAddr;

use smallvec::SmallVec;

use super::closest;

/// The address of ours to send from to the peer's address `peer`, which has sent to our `destination`: what the peer sends to, it takes for
/// ours. But peers that have several addresses take any of them to send from (usrsctp takes turns), so one of `addresses`, which the peer
/// knows too, is better if it is nearer to it, on a network that may well be the same: else two paths would begin at one address of ours,
/// and end with it.
pub(super) fn towards(addresses: &[IpAddr], peer: IpAddr, destination: IpAddr) -> IpAddr {
    let near: SmallVec<[IpAddr; 4]> = core::iter::once(destination)
        .chain(addresses.iter().copied().filter(|own| match (own, peer) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => (own.to_bits() ^ peer.to_bits()).leading_zeros() >= SITE_IPV4,
            (IpAddr::V6(own), IpAddr::V6(peer)) => (own.to_bits() ^ peer.to_bits()).leading_zeros() >= SITE_IPV6,
            _ => false,
        }))
        .collect();
    closest(&near, peer).unwrap_or(destination)
}

/// Bits that two addresses of one site have in common at least: in fewer it may be by chance.
const SITE_IPV4: u32 = 16;
const SITE_IPV6: u32 = 48;

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(own: &[&str], peer: &str, destination: &str) -> String {
        let own: Vec<IpAddr> = own.iter().map(|address| address.parse().unwrap()).collect();
        towards(&own, peer.parse().unwrap(), destination.parse().unwrap()).to_string()
    }

    #[test]
    fn what_the_peer_sends_to_is_sent_from() {
        assert_eq!(chosen(&[], "10.0.0.2", "10.0.0.1"), "10.0.0.1");
        // Nothing says which is the better one: they are far away, and alike by chance.
        assert_eq!(chosen(&["192.0.2.1", "198.51.100.1"], "198.18.0.9", "192.0.2.1"), "192.0.2.1");
        assert_eq!(chosen(&["fd77::1", "2001:db8::1"], "2001:db9::2", "fd77::1"), "fd77::1");
    }

    #[test]
    fn unless_another_is_on_the_peers_network() {
        // A link between two hosts.
        assert_eq!(chosen(&["10.0.0.1", "10.0.0.5"], "10.0.0.6", "10.0.0.1"), "10.0.0.5");
        assert_eq!(chosen(&["10.77.0.1", "10.78.0.1"], "10.78.0.2", "10.77.0.1"), "10.78.0.1");
        assert_eq!(chosen(&["10.78.1.1", "10.78.0.1"], "10.78.0.2", "10.78.1.1"), "10.78.0.1");
        assert_eq!(chosen(&["fd77::1", "10.78.0.1", "fd78::1"], "fd78::2", "fd77::1"), "fd78::1");
    }
}
