//! What the programs say of listeners when they answer INITs: each kind once, since most listeners are of one.

use std::collections::HashMap;

use sctp_common::init::Offer;
use sctp_common::maps::OFFERS;

/// Which offers there are, at which places of the programs' map, and which ports' they are.
#[derive(Debug, Default)]
pub(super) struct Offers {
    /// The offers, with how many ports have each; 0 for a place that can be taken by another.
    places: Vec<(Offer, usize)>,
    ports: HashMap<u16, u16>,
}

impl Offers {
    /// The place of the offer that `port`'s listener has from now on; `None` if there are too many kinds.
    pub(super) fn add(&mut self, port: u16, offer: Offer) -> Option<u16> {
        self.remove(port);
        let same = self.places.iter().position(|(present, ports)| *ports > 0 && *present == offer);
        let free = || self.places.iter().position(|(_, ports)| *ports == 0);
        let place = same.or_else(free).unwrap_or(self.places.len());
        if place >= OFFERS as usize {
            return None;
        }
        if place == self.places.len() {
            self.places.push((offer, 0));
        }
        self.places[place] = (offer, self.places[place].1 + 1);
        self.ports.insert(port, place as u16);
        Some(place as u16)
    }

    /// `port` has no listener any more.
    pub(super) fn remove(&mut self, port: u16) {
        if let Some(place) = self.ports.remove(&port) {
            self.places[usize::from(place)].1 -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(window: u32) -> Offer {
        Offer { window, outbound_streams: 1, inbound_streams: 1, further: 7, flags: 0 }
    }

    #[test]
    fn equal_offers_share_a_place() {
        let mut offers = Offers::default();
        assert_eq!(offers.add(7, offer(1)), Some(0));
        assert_eq!(offers.add(8, offer(2)), Some(1));
        assert_eq!(offers.add(9, offer(1)), Some(0));
        offers.remove(7);
        assert_eq!(offers.add(10, offer(3)), Some(2), "one port still has the first");
        offers.remove(9);
        offers.remove(9);
        assert_eq!(offers.add(11, offer(4)), Some(0));
        assert_eq!(offers.add(8, offer(4)), Some(0), "in place of what it had");
        assert_eq!(offers.add(12, offer(5)), Some(1));
    }

    #[test]
    fn there_are_so_many_places_and_no_more() {
        let mut offers = Offers::default();
        for place in 0..OFFERS as u16 {
            assert_eq!(offers.add(place + 1, offer(place.into())), Some(place));
        }
        assert_eq!(offers.add(5000, offer(5000)), None);
        assert_eq!(offers.add(5001, offer(3)), Some(3));
        offers.remove(20);
        assert_eq!(offers.add(5000, offer(5000)), Some(19));
    }
}
