//! The paths of an association, and the choice among them (RFC 9260 §6.4, §7.3, §8.2; RFC 7829 §3.2, §4.1).

use core::net::IpAddr;
use core::num::NonZeroU16;
use core::time::Duration;

use smallvec::SmallVec;

use super::{COMMON_HEADER, Path};
use crate::congestion::Controller;
use crate::event::PathState;
use crate::time::Instant;

/// The paths of an association.
#[derive(Debug)]
pub(crate) struct Paths {
    /// At most 255 (`max_paths`).
    list: SmallVec<[Path; 1]>,
    primary: u8,
    /// Where new DATA goes.
    current: u8,
    /// Where an error was counted last.
    failed: u8,
    /// Until when HEARTBEATs that verify addresses are counted, and how many were sent (§5.4).
    verification: (Instant, u32),
    /// Most bytes of an SCTP packet on every path, without the common header: AMDCS (§7.3).
    max_chunk: u16,
    /// No packet is larger than this, whatever the path could take.
    max_packet: u16,
    /// The UDP encapsulation port of paths to come (RFC 6951 §6.1): that of the peer's last packet, or what the user said.
    pub(crate) encapsulation: Option<NonZeroU16>,
}

impl Paths {
    pub(crate) fn new(first: Path, max_packet: usize) -> Self {
        let mut paths = Self {
            list: SmallVec::new(),
            primary: 0,
            current: 0,
            failed: 0,
            verification: (Instant::ORIGIN, 0),
            max_chunk: u16::MAX,
            max_packet: max_packet as u16,
            encapsulation: first.encapsulation,
        };
        paths.push(first);
        paths
    }

    pub(crate) fn push(&mut self, path: Path) {
        self.list.push(path);
        self.update_max_chunk();
        self.choose();
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn iter(&self) -> core::slice::Iter<'_, Path> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> core::slice::IterMut<'_, Path> {
        self.list.iter_mut()
    }

    /// The path with this address of the peer.
    pub(crate) fn find(&self, address: IpAddr) -> Option<usize> {
        self.list.iter().position(|path| path.address == address)
    }

    pub(crate) fn primary(&self) -> usize {
        self.primary.into()
    }

    pub(crate) fn set_primary(&mut self, path: usize) {
        self.primary = path as u8;
        self.choose();
    }

    /// AMDCS: the largest chunk that fits a packet on every path.
    pub(crate) fn max_chunk(&self) -> usize {
        self.max_chunk.into()
    }

    /// The largest SCTP packet on this path.
    pub(crate) fn max_packet(&self, path: usize) -> usize {
        self.list[path].max_packet().min(self.max_packet.into())
    }

    /// Where new DATA goes: the primary path, or while that is not active another.
    pub(crate) fn for_data(&self) -> usize {
        self.current.into()
    }

    /// Changes the state of a path, and with it perhaps where DATA goes.
    pub(crate) fn set_state(&mut self, path: usize, state: PathState) {
        self.list[path].state = state;
        self.choose();
    }

    /// Sets the error counter of a path to 0 (§8.2).
    pub(crate) fn clear_errors(&mut self, path: usize) {
        if self.list[path].error_count != 0 {
            self.list[path].error_count = 0;
            self.list[path].source_turn = 0;
            self.choose();
        }
    }

    /// Adds 1 to the error counter of a path, which goes up to `most` (§8.2); gives the new count.
    pub(crate) fn count_error(&mut self, path: usize, most: u32) -> u32 {
        let count = &mut self.list[path].error_count;
        *count = count.saturating_add(1).min(u16::try_from(most).unwrap_or(u16::MAX));
        let count = u32::from(*count);
        self.failed = path as u8;
        self.choose();
        count
    }

    /// Takes note of a HEARTBEAT that verifies an address, or says until when it has to wait because `most` have been sent within an
    /// RTO: "The number of packets containing HEARTBEAT chunks sent at each RTO SHOULD be limited by the 'HB.Max.Burst' parameter"
    /// (§5.4).
    pub(crate) fn next_verification(&mut self, now: Instant, rto: Duration, most: u32) -> Option<Instant> {
        if now >= self.verification.0 {
            self.verification = (now + rto, 0);
        }
        let (end, sent) = &mut self.verification;
        if *sent >= most {
            return Some(*end);
        }
        *sent += 1;
        None
    }

    /// Decides where new DATA goes.
    ///
    /// To the primary path if it is active. Else to an active one, "only ONE" of them (§8.2), and the most divergent from the one that
    /// DATA leaves (§6.4.1). If none is, "The sender SHOULD choose the destination in PF state with the lowest error count" (RFC 7829
    /// §3.2); if none is even that, the inactive one with the lowest (RFC 7829 §4.1); of several, not the one that has just failed.
    fn choose(&mut self) {
        //= RFC 9260 §6.4: "By default, an endpoint SHOULD always transmit to the primary path"
        //= RFC 9260 §6.4.1: "the SCTP endpoint SHOULD try to send the data to an alternate active destination transport
        //= address if one exists"
        //= RFC 9260 §8.2: "only ONE transport address SHOULD be chosen and used as the new destination transport
        //= address"
        let (before, primary, failed) = (usize::from(self.current), self.primary(), usize::from(self.failed));
        let is_active = |at: usize| self.list.get(at).is_some_and(Path::is_active);
        let chosen = if is_active(primary) {
            primary
        } else if is_active(before) {
            before
        } else if let Some(active) = self.most_divergent(before) {
            active
        } else {
            let worse = self.list.iter().enumerate().filter(|(_, path)| path.is_confirmed());
            let key = |(at, path): &(usize, &Path)| {
                (path.state == PathState::Inactive, path.error_count, *at == failed, *at != primary)
            };
            worse.min_by_key(key).map_or(primary, |(at, _)| at)
        };
        self.current = chosen as u8;
    }

    /// Where to send again what timed out on `last`: another active path if there is one (§6.4).
    pub(crate) fn alternate(&self, last: usize) -> usize {
        //= RFC 9260 §6.4: "an endpoint SHOULD try to retransmit a chunk that timed out to an active destination
        //= transport address that is different from the last destination address"
        match self.most_divergent(last) {
            Some(at) => at,
            None if self.list[last].is_active() => last,
            None => self.for_data(),
        }
    }

    /// Where to send a SACK of DATA that came on `path`: back, unless SACKs seem to get lost there and another path is active (§6.4).
    pub(crate) fn for_sack(&self, path: usize) -> usize {
        match self.list.get(path) {
            Some(back) if back.is_active() && !back.suspect => path,
            Some(back) if back.is_confirmed() => self.most_divergent(path).unwrap_or(path),
            _ => self.for_data(),
        }
    }

    /// The active path other than `from` whose source-destination pair has least in common with that of `from` (§6.4.1): another
    /// source address first of all, then a destination in another network. Fewer errors come before that, for a path that has some
    /// is about to fail itself.
    fn most_divergent(&self, from: usize) -> Option<usize> {
        //= RFC 9260 §6.4.1: "the endpoint SHOULD attempt to pick the most divergent source-destination pair from the
        //= original source-destination pair"
        let origin = self.list.get(from)?;
        let others = self.list.iter().enumerate().filter(|(at, path)| *at != from && path.is_active());
        let key = |(at, path): &(usize, &Path)| {
            let same_source = path.source == origin.source && origin.source.is_some();
            (path.error_count, same_source, common_prefix(path.address, origin.address), *at != self.primary())
        };
        others.min_by_key(key).map(|(at, _)| at)
    }

    /// The PMTU of a path has changed.
    pub(crate) fn set_mtu(&mut self, path: usize, mtu: u16) {
        let least = if self.list[path].address.is_ipv4() { 576 } else { 1280 };
        self.list[path].mtu = mtu.max(least);
        self.update_path_max_chunk(path);
    }

    /// Packets to a path go in UDP to this port from now on, or directly over IP (RFC 6951 §5.4).
    pub(crate) fn set_encapsulation(&mut self, path: usize, port: Option<NonZeroU16>) {
        let before = core::mem::replace(&mut self.list[path].encapsulation, port);
        if before.is_some() != port.is_some() {
            self.update_path_max_chunk(path);
        }
    }

    /// The space in packets to a path has changed.
    fn update_path_max_chunk(&mut self, path: usize) {
        let path = &mut self.list[path];
        let max_chunk = path.max_packet() - COMMON_HEADER;
        path.controller.set_max_chunk(max_chunk as u32);
        self.update_max_chunk();
    }

    //= RFC 9260 §7.3: "The sender SHOULD track an AMDCS that will be the smallest PMDCS discovered for all of the
    //= peer's destination addresses."
    fn update_max_chunk(&mut self) {
        let smallest = self.list.iter().map(Path::max_packet).min().unwrap_or(usize::MAX);
        self.max_chunk = ((smallest.min(self.max_packet.into()) - COMMON_HEADER) & !3) as u16;
    }
}

/// How many bits two addresses begin with in common; none if they are of different families.
fn common_prefix(one: IpAddr, other: IpAddr) -> u32 {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}

impl core::ops::Index<usize> for Paths {
    type Output = Path;

    fn index(&self, at: usize) -> &Path {
        &self.list[at]
    }
}

impl core::ops::IndexMut<usize> for Paths {
    fn index_mut(&mut self, at: usize) -> &mut Path {
        &mut self.list[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AssociationConfig;

    use PathState::{Active, Inactive, PotentiallyFailed, Unconfirmed};

    /// Paths to 10.0.0.1, 10.1.0.1 … in these states, with these error counts.
    fn paths(of: &[(PathState, u32)]) -> Paths {
        let path = |(at, (state, errors)): (usize, &(PathState, u32))| {
            let address = IpAddr::from([10, at as u8, 0, 1]);
            let mut path = Path::new(address, *state, &AssociationConfig::rfc(), Instant::ORIGIN);
            path.error_count = *errors as u16;
            path
        };
        let mut all = of.iter().enumerate().map(path);
        let mut paths = Paths::new(all.next().expect("one at least"), 1480);
        all.for_each(|path| paths.push(path));
        paths.choose();
        paths
    }

    //= test RFC 9260 §6.4: "By default, an endpoint SHOULD always transmit to the primary path"
    //= test RFC 9260 §6.4.1: "the SCTP endpoint SHOULD try to send the data to an alternate active destination
    //= transport address if one exists"
    /// Where new DATA goes, by state and error count of the paths; the first is the primary path.
    #[test]
    fn the_path_for_data() {
        for (states, expected) in [
            (&[(Active, 0)][..], 0),
            (&[(Inactive, 9)], 0),
            (&[(Active, 3), (Active, 0)], 0),
            (&[(Inactive, 9), (Active, 0)], 1),
            (&[(PotentiallyFailed, 1), (Active, 0)], 1),
            (&[(PotentiallyFailed, 1), (Unconfirmed, 0), (Active, 0)], 2),
            // "the destination in PF state with the lowest error count" (RFC 7829 §3.2, rule 4)
            (&[(PotentiallyFailed, 2), (PotentiallyFailed, 1)], 1),
            (&[(PotentiallyFailed, 2), (Inactive, 1)], 0),
            (&[(Inactive, 1), (PotentiallyFailed, 2), (PotentiallyFailed, 3)], 1),
            // Dormant (RFC 7829 §4.1, rule 3).
            (&[(Inactive, 9), (Inactive, 6), (Inactive, 7)], 1),
            (&[(Inactive, 9), (Unconfirmed, 0)], 0),
        ] {
            assert_eq!(paths(states).for_data(), expected, "{states:?}");
        }
    }

    //= test RFC 9260 §8.2: "only ONE transport address SHOULD be chosen"
    #[test]
    fn data_stays_where_it_went_and_returns_to_the_primary() {
        let mut paths = paths(&[(Active, 0), (Active, 0), (Active, 0)]);
        paths.set_state(0, Inactive);
        let other = paths.for_data();
        // An error, or one less elsewhere, is no reason to move.
        paths.count_error(other, 10);
        assert_eq!(paths.for_data(), other);
        paths.set_state(0, Active);
        assert_eq!(paths.for_data(), 0);
    }

    /// RFC 7829 §3.2 rule 4 ii, §4.1 rule 3: of equals, not the one that has just failed.
    #[test]
    fn paths_that_all_fail_take_turns() {
        for state in [PotentiallyFailed, Inactive] {
            let mut paths = paths(&[(state, 6), (state, 6), (state, 6)]);
            let mut tried = Vec::new();
            for _ in 0..6 {
                let at = paths.for_data();
                tried.push(at);
                // The counters are at their limit: they tell nothing any more.
                paths.count_error(at, 6);
            }
            assert!(tried.windows(2).all(|two| two[0] != two[1]), "{tried:?}");
        }
    }

    //= test RFC 9260 §6.4: "an endpoint SHOULD try to retransmit a chunk that timed out to an active destination
    //= transport address that is different"
    #[test]
    fn what_timed_out_goes_elsewhere_if_anywhere_is_better() {
        let mut paths = paths(&[(Active, 0), (Active, 0)]);
        assert_eq!((paths.alternate(0), paths.alternate(1)), (1, 0));
        paths.set_state(1, PotentiallyFailed);
        assert_eq!((paths.alternate(0), paths.alternate(1)), (0, 0));
        paths.set_state(0, Inactive);
        assert_eq!((paths.alternate(0), paths.alternate(1)), (1, 1));
    }

    //= test RFC 9260 §6.4.1: "the endpoint SHOULD attempt to pick the most divergent source-destination pair"
    /// §6.4.1: "the most divergent source-destination pair".
    #[test]
    fn the_most_divergent_pair_is_tried_next() {
        let mut paths = paths(&[(Active, 0), (Active, 0), (Active, 0), (Active, 0)]);
        let source = |last: u8| Some(IpAddr::from([192, 0, 2, last]));
        for (at, address, from) in
            [(0, [10, 0, 0, 1], 1), (1, [10, 0, 0, 2], 2), (2, [10, 9, 0, 1], 2), (3, [172, 16, 0, 1], 1)]
        {
            paths[at].address = IpAddr::from(address);
            paths[at].source = source(from);
        }
        assert_eq!(paths.alternate(0), 2, "another source, and the farther destination");
        paths[2].error_count = 1;
        assert_eq!(paths.alternate(0), 1, "but not if it has errors");
        paths[1].source = source(1);
        paths[2].source = source(1);
        paths[2].error_count = 0;
        assert_eq!(paths.alternate(0), 3, "the same source everywhere: the farthest destination");
    }

    //= test RFC 9260 §6.7: "the SCTP endpoint SHOULD always try to send the SACK chunk to the same destination address
    //= from which the last DATA chunk was received"
    //= test RFC 9260 §6.4: "an endpoint SHOULD NOT vary the destination transport address of a SACK chunk when it
    //= receives DATA chunks coming from the same source address"
    #[test]
    fn sacks_go_back_unless_they_get_lost() {
        let mut paths = paths(&[(Active, 0), (Active, 0), (Unconfirmed, 0)]);
        assert_eq!((paths.for_sack(0), paths.for_sack(1), paths.for_sack(2), paths.for_sack(7)), (0, 1, 0, 0));
        paths[0].suspect = true;
        assert_eq!((paths.for_sack(0), paths.for_sack(1)), (1, 1));
        paths[0].suspect = false;
        paths.set_state(0, PotentiallyFailed);
        assert_eq!(paths.for_sack(0), 1);
        paths.set_state(1, Inactive);
        assert_eq!((paths.for_sack(0), paths.for_sack(1)), (0, 1));
    }
}
