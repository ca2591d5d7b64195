//! Every fate that a packet can have in the XDP program, with its name and its counter.
//!
//! Exactly one counter is incremented per packet, at the place that decided, so the sum over all counters is the number of
//! packets seen and the sum over the drop reasons is the number dropped.

/// What becomes of a packet, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Given to the kernel unchanged: not ours.
    Pass(PassReason),
    /// Redirected to the AF_XDP socket of the worker that it belongs to.
    Redirect(RedirectReason),
    /// Turned into its answer and sent back.
    Answer(AnswerReason),
    /// Discarded.
    Drop(DropReason),
}

impl Verdict {
    /// How many counters there are: the number of entries of the map
    /// [`COUNTERS`](crate::maps::names::COUNTERS).
    pub const COUNT: u32 = DROPS_FROM + DropReason::ALL.len() as u32;

    /// The verdict's index in the map [`COUNTERS`](crate::maps::names::COUNTERS), below [`COUNT`](Self::COUNT).
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        match self {
            Self::Pass(reason) => reason as u32,
            Self::Redirect(reason) => REDIRECTS_FROM + reason as u32,
            Self::Answer(reason) => ANSWERS_FROM + reason as u32,
            Self::Drop(reason) => DROPS_FROM + reason as u32,
        }
    }

    /// What is done with a packet whose verdict is counted at `index`.
    #[inline(always)]
    #[must_use]
    pub const fn action_at(index: u32) -> Action {
        if index < REDIRECTS_FROM {
            Action::Pass
        } else if index < ANSWERS_FROM {
            Action::Redirect
        } else if index < DROPS_FROM {
            Action::Answer
        } else {
            Action::Drop
        }
    }

    /// The verdict that is counted at `index`.
    #[must_use]
    pub fn from_index(index: u32) -> Option<Self> {
        Self::all().nth(usize::try_from(index).ok()?)
    }

    /// Every verdict, in the order of the counters.
    pub fn all() -> impl Iterator<Item = Self> {
        let passes = PassReason::ALL.iter().map(|&reason| Self::Pass(reason));
        let redirects = RedirectReason::ALL.iter().map(|&reason| Self::Redirect(reason));
        let answers = AnswerReason::ALL.iter().map(|&reason| Self::Answer(reason));
        let drops = DropReason::ALL.iter().map(|&reason| Self::Drop(reason));
        passes.chain(redirects).chain(answers).chain(drops)
    }

    /// The reason's name in kebab case, unique among all verdicts: what counters are called in tables, JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass(reason) => reason.name(),
            Self::Redirect(reason) => reason.name(),
            Self::Answer(reason) => reason.name(),
            Self::Drop(reason) => reason.name(),
        }
    }

    /// What is done with the packet: `"pass"`, `"redirect"`, `"answer"` or `"drop"`.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Redirect(_) => "redirect",
            Self::Answer(_) => "answer",
            Self::Drop(_) => "drop",
        }
    }

    /// The reason in one sentence, for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Pass(reason) => reason.describe(),
            Self::Redirect(reason) => reason.describe(),
            Self::Answer(reason) => reason.describe(),
            Self::Drop(reason) => reason.describe(),
        }
    }
}

/// What is done with a packet, without the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is given to the kernel.
    Pass,
    /// It is redirected to a worker's socket.
    Redirect,
    /// It has been turned into its answer, which goes back.
    Answer,
    /// It is discarded.
    Drop,
}

impl From<PassReason> for Verdict {
    #[inline(always)]
    fn from(reason: PassReason) -> Self {
        Self::Pass(reason)
    }
}

impl From<RedirectReason> for Verdict {
    #[inline(always)]
    fn from(reason: RedirectReason) -> Self {
        Self::Redirect(reason)
    }
}

impl From<AnswerReason> for Verdict {
    #[inline(always)]
    fn from(reason: AnswerReason) -> Self {
        Self::Answer(reason)
    }
}

impl From<DropReason> for Verdict {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

const REDIRECTS_FROM: u32 = PassReason::ALL.len() as u32;
const ANSWERS_FROM: u32 = REDIRECTS_FROM + RedirectReason::ALL.len() as u32;
const DROPS_FROM: u32 = ANSWERS_FROM + AnswerReason::ALL.len() as u32;

impl RedirectReason {
    /// The reason that stands at `place` among [all](Self::ALL); for a place that none has, the last.
    #[inline(always)]
    #[must_use]
    pub const fn at(place: u32) -> Self {
        match place {
            0 => Self::Association,
            1 => Self::Init,
            2 => Self::CookieEcho,
            3 => Self::Icmp,
            4 => Self::ShutdownAck,
            _ => Self::ToBeAnswered,
        }
    }
}

impl AnswerReason {
    /// The reason that stands at `place` among [all](Self::ALL) that an [`Answer`](crate::reply::Answer) can have, which is all but the last,
    /// [`InitAck`](Self::InitAck); for any other place, [`Refused`](Self::Refused).
    #[inline(always)]
    #[must_use]
    pub const fn at(place: u32) -> Self {
        match place {
            0 => Self::Abort,
            1 => Self::ShutdownComplete,
            2 => Self::HeartbeatAck,
            _ => Self::Refused,
        }
    }

    /// The reason to count where nothing is ever answered.
    #[inline(always)]
    #[must_use]
    pub const fn unanswered(self) -> DropReason {
        match self {
            Self::Abort => DropReason::OutOfTheBlue,
            Self::ShutdownComplete => DropReason::OotbShutdownAck,
            Self::Refused => DropReason::NotListening,
            // These go to a worker instead; nobody asks.
            Self::HeartbeatAck | Self::InitAck => DropReason::NoAnswer,
        }
    }
}

/// Defines an enum of reasons, each with its name and its sentence, which is its documentation too.
macro_rules! reasons {
    ($(#[$about:meta])* $reasons:ident { $($variant:ident = $name:literal: $sentence:literal,)+ }) => {
        $(#[$about])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $reasons {
            $(#[doc = $sentence] $variant,)+
        }

        impl $reasons {
            /// Every reason, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name in kebab case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The meaning in one sentence.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$variant => $sentence,)+
                }
            }
        }
    };
}

reasons! {
    /// Why a packet was left to the kernel.
    PassReason {
        NotSctp = "not-sctp": "Not SCTP over IPv4 or IPv6, or too short to tell.",
        Udp = "udp": "UDP, but not to our encapsulation port (RFC 6951), if we have one.",
        Icmp = "icmp": "An ICMP or ICMPv6 message that quotes no packet of ours, or need not be heeded (RFC 9260 §10).",
        ExtensionHeaders = "extension-headers": "A chain of IPv6 extension headers longer than the program follows.",
        SourceRouted = "source-routed": "An IPv6 routing header with segments left: this host is only a way-point.",
        Fragment = "first-fragment": "The first fragment of a packet for us, left to the kernel by order.",
        LaterFragment = "later-fragment": "A fragment other than the first one, which has no ports to judge by.",
        PortNotOwned = "port-not-owned": "SCTP to a port that is not ours.",
        Transit = "transit": "SCTP to an address that is not ours, with no verification tag of ours.",
    }
}

reasons! {
    /// Why a packet was redirected to a worker.
    RedirectReason {
        Association = "association": "The verification tag belongs to a live association.",
        Init = "init": "An INIT to a port that wants them (RFC 9260 §5.1).",
        CookieEcho = "cookie-echo": "A COOKIE ECHO whose tag no association has yet (RFC 9260 §5.1.5).",
        Icmp = "icmp-quotation": "An ICMP or ICMPv6 error that quotes a packet of a live association (RFC 9260 §10).",
        ShutdownAck = "shutdown-ack": "A SHUTDOWN ACK of another tag than its sender's association has (RFC 9260 §8.5.1 E).",
        ToBeAnswered = "to-be-answered": "Out of the blue, for a worker to answer, where the driver cannot be trusted to send answers (RFC 9260 §8.4).",
    }
}

reasons! {
    /// With what a packet was answered.
    AnswerReason {
        Abort = "abort": "Out of the blue, answered with an ABORT that reflects its tag (RFC 9260 §8.4, 8).",
        ShutdownComplete = "shutdown-complete": "A SHUTDOWN ACK out of the blue, answered with SHUTDOWN COMPLETE (RFC 9260 §8.4, 5).",
        HeartbeatAck = "heartbeat-ack": "A HEARTBEAT of an association's peer, answered with HEARTBEAT ACK (RFC 9260 §8.3).",
        Refused = "refused": "An INIT to a port of ours that nobody listens on, answered with ABORT (RFC 9260 §5.1, §8.4, 3).",
        InitAck = "init-ack": "One of many INITs, or of any by order, answered with INIT ACK and a State Cookie (RFC 9260 §5.1.3).",
    }
}

reasons! {
    /// Why a packet was discarded.
    DropReason {
        IpVersion = "ip-version": "The IP version field disagrees with the Ethernet type.",
        IpHeaderLength = "ip-header-length": "An IPv4 header length below 20 bytes.",
        IpLength = "ip-length": "The IP length is too small for the IP headers in front of SCTP.",
        IpChecksum = "ip-checksum": "The IPv4 header checksum is wrong.",
        Truncated = "truncated": "The frame ends before the length that its IP header states.",
        Fragment = "fragment": "The first fragment of a packet for us, which nobody here reassembles.",
        TooLong = "too-long": "An SCTP packet longer than the program can verify (9216 bytes).",
        UdpLength = "udp-length": "The UDP length is below that of its header, or beyond the IP packet (RFC 6951 §5.3).",
        UdpPortZero = "udp-port-zero": "SCTP in UDP from port 0, which nobody can answer to.",
        UdpChecksum = "udp-checksum": "The UDP checksum is wrong.",
        UdpZeroChecksum = "udp-zero-checksum": "SCTP in UDP over IPv6 without a UDP checksum (RFC 6951 §5.3, RFC 8200 §8.1).",
        ShortHeader = "short-header": "Fewer than the 12 bytes of an SCTP common header.",
        PortZero = "port-zero": "Source or destination port 0.",
        NoChunk = "no-chunk": "A common header without any chunk.",
        ChunkHeader = "chunk-header": "Fewer than the four bytes of a chunk header after the common header.",
        ChunkLength = "chunk-length": "A chunk length below 4, the length of its own header.",
        ChunkTruncated = "chunk-truncated": "The first chunk is longer than the packet.",
        ChunkPadding = "chunk-padding": "The padding of the first chunk lies beyond the end of the packet.",
        ZeroTag = "zero-tag": "Verification tag 0 on something else than an INIT (RFC 9260 §8.5.1 A).",
        InitTag = "init-tag": "An INIT with a verification tag other than 0 (RFC 9260 §8.5.1 A).",
        InitBundled = "init-bundled": "An INIT that shares its packet with more chunks (RFC 9260 §8.5.1 A).",
        NotListening = "not-listening": "An INIT to a port of ours that nobody listens on, not answered by order, or without a tag to answer.",
        InitRate = "init-rate": "One of too many INITs that only a worker can answer.",
        IcmpTag = "icmp-tag": "An ICMP or ICMPv6 error that quotes a packet from a port of ours, with a tag of no association (RFC 9260 §10).",
        BadCookie = "bad-cookie": "A COOKIE ECHO whose cookie we did not make for its ports and tag, or too long ago to tell (RFC 9260 §5.1.5).",
        StaleCookie = "stale-cookie": "A COOKIE ECHO with a cookie that is too old; there have been too many answers lately to say so (RFC 9260 §5.1.5).",
        BadTag = "bad-tag": "From the peer of an association, with another tag than the association's (RFC 9260 §8.5).",
        NonUnicast = "non-unicast": "Out of the blue, from or to an address that is not unicast (RFC 9260 §8.4, 1).",
        OotbAbort = "ootb-abort": "Out of the blue: an ABORT of no association (RFC 9260 §8.4, 2).",
        OotbShutdownAck = "ootb-shutdown-ack": "Out of the blue: a SHUTDOWN ACK, not answered by order (RFC 9260 §8.4, 5).",
        OotbShutdownComplete = "ootb-shutdown-complete": "Out of the blue: a SHUTDOWN COMPLETE (RFC 9260 §8.4, 6).",
        OotbCookieAck = "ootb-cookie-ack": "Out of the blue: a COOKIE ACK, or an ERROR about a stale cookie (RFC 9260 §8.4, 7).",
        OutOfTheBlue = "out-of-the-blue": "Out of the blue: a tag that no association has, not answered by order (RFC 9260 §8.4, 8).",
        OotbUnreadable = "ootb-unreadable": "Out of the blue: chunks that do not fit the packet, or more than the program follows.",
        AnswerRate = "answer-rate": "Out of the blue, not answered: there have been too many answers lately.",
        NoAnswer = "no-answer": "Out of the blue, not answered: the driver does not let the frame be cut to the answer.",
        Checksum = "checksum": "The CRC32c is wrong.",
        ZeroChecksum = "zero-checksum": "The checksum field is zero: most likely a sender on this machine left it to offload.",
        NoMetadata = "no-metadata": "The driver left no room for metadata in front of the frame.",
        NoSocket = "no-socket": "The owner has no AF_XDP socket on the queue that the packet came by.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn indices_count_up_from_zero_without_a_gap() {
        let indices: Vec<u32> = Verdict::all().map(Verdict::index).collect();
        assert_eq!(indices, (0..Verdict::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn an_index_leads_back_to_its_verdict() {
        assert!(Verdict::all().all(|verdict| Verdict::from_index(verdict.index()) == Some(verdict)));
        assert_eq!(Verdict::from_index(Verdict::COUNT), None);
    }

    #[test]
    fn a_place_leads_back_to_its_reason() {
        assert!((0..).zip(RedirectReason::ALL).all(|(place, reason)| RedirectReason::at(place) == *reason));
        let of_one_chunk = AnswerReason::ALL.iter().filter(|reason| **reason != AnswerReason::InitAck);
        assert!((0..).zip(of_one_chunk).all(|(place, reason)| AnswerReason::at(place) == *reason));
    }

    #[test]
    fn an_index_tells_the_action() {
        for verdict in Verdict::all() {
            let expected = match verdict {
                Verdict::Pass(_) => Action::Pass,
                Verdict::Redirect(_) => Action::Redirect,
                Verdict::Answer(_) => Action::Answer,
                Verdict::Drop(_) => Action::Drop,
            };
            assert_eq!(Verdict::action_at(verdict.index()), expected);
        }
        // What no verdict has is not let through.
        assert_eq!(Verdict::action_at(u32::MAX), Action::Drop);
    }

    #[test]
    fn names_are_unique_and_in_kebab_case() {
        let names: HashSet<_> = Verdict::all().map(Verdict::name).collect();
        assert_eq!(names.len(), Verdict::COUNT as usize);
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    }

    #[test]
    fn every_verdict_has_a_sentence_and_an_action() {
        assert!(Verdict::all().all(|verdict| verdict.describe().ends_with('.')));
        assert_eq!(Verdict::from(PassReason::Transit).action(), "pass");
        assert_eq!(Verdict::from(RedirectReason::Init).action(), "redirect");
        assert_eq!(Verdict::from(AnswerReason::Abort).action(), "answer");
        assert_eq!(Verdict::from(DropReason::Checksum).action(), "drop");
    }
}
