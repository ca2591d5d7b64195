//! What to do with a COOKIE ECHO when the association exists already: table 12 of RFC 9260 §5.2.4, as a function.

/// The tags of a valid State Cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CookieTags {
    pub(crate) local: u32,
    pub(crate) peer: u32,
    /// 0 if the cookie has none.
    pub(crate) local_tie: u32,
    /// 0 if the cookie has none.
    pub(crate) peer_tie: u32,
}

/// The tags of the association that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnTags {
    pub(crate) local: u32,
    /// 0 while it is not known (COOKIE-WAIT).
    pub(crate) peer: u32,
    pub(crate) local_tie: u32,
    pub(crate) peer_tie: u32,
}

/// The actions of §5.2.4, and what is not in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collision {
    /// (A): the peer has restarted.
    Restart,
    /// (B): both sides began at about the same time; the peer's tag is the cookie's.
    BothInitiated,
    /// (C): a cookie that arrived late. Discard it silently.
    Late,
    /// (D): the COOKIE ECHO of this association, perhaps again.
    Same,
    /// Not in the table. Discard silently.
    Unknown,
}

/// Looks up the row of table 12. Of "X" (no match), "M" (match) and "0" (none) the first row that fits decides.
pub(crate) fn resolve(cookie: CookieTags, own: OwnTags) -> Collision {
    let local = cookie.local == own.local;
    let peer = own.peer != 0 && cookie.peer == own.peer;
    let no_ties = cookie.local_tie == 0 && cookie.peer_tie == 0;
    let ties = !no_ties && cookie.local_tie == own.local_tie && cookie.peer_tie == own.peer_tie;
    match (local, peer) {
        (true, true) => Collision::Same,
        (true, false) => Collision::BothInitiated,
        //= RFC 9260 §5.2.4: "The cookie SHOULD be silently discarded."
        //= RFC 9260 §5.2.4: "The endpoint SHOULD NOT change states and SHOULD leave any timers running."
        (false, true) if no_ties => Collision::Late,
        (false, false) if ties => Collision::Restart,
        //= RFC 9260 §5.2.4: "For any case not shown in Table 12, the cookie SHOULD be silently discarded."
        _ => Collision::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: OwnTags = OwnTags { local: 1, peer: 2, local_tie: 3, peer_tie: 4 };

    fn resolved(local: u32, peer: u32, local_tie: u32, peer_tie: u32) -> Collision {
        resolve(CookieTags { local, peer, local_tie, peer_tie }, OWN)
    }

    #[test]
    fn row_1_x_x_m_m_is_a() {
        assert_eq!(resolved(9, 9, 3, 4), Collision::Restart);
    }

    #[test]
    fn row_2_m_x_any_is_b() {
        for (local_tie, peer_tie) in [(0, 0), (3, 4), (9, 9), (3, 9)] {
            assert_eq!(resolved(1, 9, local_tie, peer_tie), Collision::BothInitiated);
        }
    }

    #[test]
    fn row_3_m_0_any_is_b() {
        let own = OwnTags { peer: 0, ..OWN };
        for (local_tie, peer_tie) in [(0, 0), (3, 4), (9, 9)] {
            let cookie = CookieTags { local: 1, peer: 9, local_tie, peer_tie };
            assert_eq!(resolve(cookie, own), Collision::BothInitiated);
        }
    }

    #[test]
    fn row_4_x_m_0_0_is_c() {
        assert_eq!(resolved(9, 2, 0, 0), Collision::Late);
    }

    #[test]
    fn row_5_m_m_any_is_d() {
        for (local_tie, peer_tie) in [(0, 0), (3, 4), (9, 9)] {
            assert_eq!(resolved(1, 2, local_tie, peer_tie), Collision::Same);
        }
    }

    //= test RFC 9260 §5.2.4: "For any case not shown in Table 12, the cookie SHOULD be silently discarded."
    #[test]
    fn what_is_not_in_the_table_is_discarded() {
        // X X with ties that do not match, or match in part, or are absent.
        for (local_tie, peer_tie) in [(9, 9), (3, 9), (9, 4), (0, 0), (0, 4), (3, 0)] {
            assert_eq!(resolved(9, 9, local_tie, peer_tie), Collision::Unknown);
        }
        // X M with ties.
        for (local_tie, peer_tie) in [(3, 4), (9, 9), (0, 4)] {
            assert_eq!(resolved(9, 2, local_tie, peer_tie), Collision::Unknown);
        }
        // A tag of 0 is "unknown", which matches nothing.
        let cookie = CookieTags { local: 9, peer: 0, local_tie: 0, peer_tie: 0 };
        assert_eq!(resolve(cookie, OwnTags { peer: 0, ..OWN }), Collision::Unknown);
    }
}
