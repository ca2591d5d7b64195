//! The small protocol between `sctp perf client --mode stream` and `sctp perf server`.
//!
//! Measured messages go one way only, so the client cannot see by itself what has arrived: the server counts and digests
//! it and reports. Control messages travel on stream 0 of the measured association, with a payload protocol identifier of their
//! own ([`CONTROL_PPID`]); everything with another identifier is measured data.
//!
//! ```text
//!   client                                     server
//!     | -- START (what to digest) -------------> |   from here on data is counted, not sent back
//!     | <------------------------------- READY - |
//!     | == data on all streams ================> |
//!     | <---- PROGRESS (count so far), 10 a second
//!     | -- FINISH (how much was sent) ---------> |   may overtake data of other streams: the server waits for it
//!     | <- REPORT (count, bytes, time, digest) - |   another START may follow
//! ```
//!
//! A message is a version (1), a type and the type's fields, all integers in network byte order, nothing after them:
//!
//! | type | name | fields |
//! |---|---|---|
//! | 1 | START | digest: u8 (0 none, 1 ordered, 2 unordered; see [`DigestKind`]) |
//! | 2 | READY | |
//! | 3 | PROGRESS | messages: u64, bytes: u64 |
//! | 4 | FINISH | messages: u64, bytes: u64 |
//! | 5 | REPORT | messages: u64, bytes: u64, nanoseconds from the first message to the last: u64, digest: none or 32 octets |
//! | 6 | REFUSED | reason: UTF-8 text |
//!
//! A server that does not know a version or a type answers REFUSED. An echo server returns START as it is, which the client
//! recognises.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use thiserror::Error;

use super::digest::{Digest, DigestKind};

/// Payload protocol identifier of control messages: "sctp" in ASCII, not assigned by IANA.
pub(crate) const CONTROL_PPID: u32 = 0x7363_7470;

/// Version of the protocol that this program speaks.
const VERSION: u8 = 1;

/// Longest reason that is sent in REFUSED, in octets.
const LONGEST_REASON: usize = 200;

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// Client: what follows is measured one way.
    Start {
        /// How it is to be digested.
        digest: DigestKind,
    },
    /// Server: go on.
    Ready,
    /// Server: so much has arrived so far.
    Progress(Amount),
    /// Client: so much was sent, and there is no more.
    Finish(Amount),
    /// Server: what has arrived.
    Report(Report),
    /// Server: what was asked for cannot be done.
    Refused(String),
}

/// A number of messages and the octets in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// How many messages.
    pub(crate) messages: u64,
    /// How many octets of payload.
    pub(crate) bytes: u64,
}

impl Amount {
    /// Counts one more message.
    pub(crate) fn add(&mut self, length: usize) {
        self.messages += 1;
        self.bytes += length as u64;
    }
}

/// What a server has received between START and FINISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// How much.
    pub(crate) amount: Amount,
    /// From the first message to the last.
    pub(crate) elapsed: Duration,
    /// Of all messages; `None` if none was asked for.
    pub(crate) digest: Option<Digest>,
}

/// Why octets are no control message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ControlError {
    /// Another version of the protocol.
    #[error(
        "version {0} of the perf protocol is not known here (this is version {VERSION}): use the same version of the command on both ends"
    )]
    Version(u8),
    /// A type that does not exist.
    #[error("type {0} of perf control messages is not known")]
    Type(u8),
    /// Fields are missing, left over or out of range.
    #[error("the perf control message of type {0} is malformed")]
    Malformed(u8),
    /// There is not even a version and a type.
    #[error("the perf control message is too short")]
    Short,
}

impl Control {
    /// The message's octets.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        out.put_u8(VERSION);
        match self {
            Self::Start { digest } => {
                out.put_u8(1);
                out.put_u8(match digest {
                    DigestKind::None => 0,
                    DigestKind::Ordered => 1,
                    DigestKind::Unordered => 2,
                });
            }
            Self::Ready => out.put_u8(2),
            Self::Progress(amount) => {
                out.put_u8(3);
                put_amount(&mut out, *amount);
            }
            Self::Finish(amount) => {
                out.put_u8(4);
                put_amount(&mut out, *amount);
            }
            Self::Report(report) => {
                out.put_u8(5);
                put_amount(&mut out, report.amount);
                out.put_u64(u64::try_from(report.elapsed.as_nanos()).unwrap_or(u64::MAX));
                if let Some(Digest(octets)) = &report.digest {
                    out.put_slice(octets);
                }
            }
            Self::Refused(reason) => {
                out.put_u8(6);
                out.put_slice(&reason.as_bytes()[..reason.floor_char_boundary(LONGEST_REASON)]);
            }
        }
        out.freeze()
    }

    /// Reads a message.
    pub(crate) fn decode(mut octets: &[u8]) -> Result<Self, ControlError> {
        let (version, kind) = match (octets.try_get_u8(), octets.try_get_u8()) {
            (Ok(VERSION), Ok(kind)) => (VERSION, kind),
            (Ok(VERSION), Err(_)) | (Err(_), _) => return Err(ControlError::Short),
            (Ok(version), _) => return Err(ControlError::Version(version)),
        };
        debug_assert_eq!(version, VERSION);
        let fields = Fields { kind, octets };
        match kind {
            1 => fields.start(),
            2 => fields.end(Self::Ready),
            3 => fields.amount().map(Self::Progress),
            4 => fields.amount().map(Self::Finish),
            5 => fields.report(),
            6 => Ok(Self::Refused(String::from_utf8_lossy(octets).into_owned())),
            other => Err(ControlError::Type(other)),
        }
    }
}

/// What comes after version and type.
struct Fields<'a> {
    kind: u8,
    octets: &'a [u8],
}

impl Fields<'_> {
    fn start(&self) -> Result<Control, ControlError> {
        let digest = match self.octets {
            [0] => DigestKind::None,
            [1] => DigestKind::Ordered,
            [2] => DigestKind::Unordered,
            _ => return Err(self.malformed()),
        };
        Ok(Control::Start { digest })
    }

    fn amount(&self) -> Result<Amount, ControlError> {
        match self.octets.as_chunks::<8>() {
            ([messages, bytes], []) => {
                Ok(Amount { messages: u64::from_be_bytes(*messages), bytes: u64::from_be_bytes(*bytes) })
            }
            _ => Err(self.malformed()),
        }
    }

    fn report(&self) -> Result<Control, ControlError> {
        let ([messages, bytes, nanoseconds, digest @ ..], []) = self.octets.as_chunks::<8>() else {
            return Err(self.malformed());
        };
        let digest = match digest {
            [] => None,
            digest => Some(Digest(digest.as_flattened().try_into().map_err(|_| self.malformed())?)),
        };
        Ok(Control::Report(Report {
            amount: Amount { messages: u64::from_be_bytes(*messages), bytes: u64::from_be_bytes(*bytes) },
            elapsed: Duration::from_nanos(u64::from_be_bytes(*nanoseconds)),
            digest,
        }))
    }

    fn end(&self, control: Control) -> Result<Control, ControlError> {
        match self.octets {
            [] => Ok(control),
            _ => Err(self.malformed()),
        }
    }

    fn malformed(&self) -> ControlError {
        ControlError::Malformed(self.kind)
    }
}

fn put_amount(out: &mut BytesMut, amount: Amount) {
    out.put_u64(amount.messages);
    out.put_u64(amount.bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every_kind() -> Vec<Control> {
        let amount = Amount { messages: 100_000, bytes: u64::MAX };
        let report =
            |digest| Control::Report(Report { amount, elapsed: Duration::from_nanos(1_234_567_890_123), digest });
        vec![
            Control::Start { digest: DigestKind::None },
            Control::Start { digest: DigestKind::Ordered },
            Control::Start { digest: DigestKind::Unordered },
            Control::Ready,
            Control::Progress(amount),
            Control::Finish(amount),
            report(None),
            report(Some(Digest([0xA5; 32]))),
            Control::Refused("no: not today".to_owned()),
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        for control in every_kind() {
            assert_eq!(Control::decode(&control.encode()), Ok(control));
        }
    }

    #[test]
    fn the_octets_are_those_of_the_table() {
        assert_eq!(Control::Start { digest: DigestKind::Ordered }.encode()[..], [1, 1, 1]);
        let finish = Control::Finish(Amount { messages: 2, bytes: 0x0103 }).encode();
        assert_eq!(finish[..], [1, 4, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 3]);
    }

    #[test]
    fn cut_and_longer_messages_are_malformed() {
        for control in every_kind().into_iter().filter(|control| !matches!(control, Control::Refused(_))) {
            let octets = control.encode();
            for length in 0..octets.len() {
                // A report without its digest is a report.
                if matches!(control, Control::Report(_)) && length == 2 + 24 {
                    continue;
                }
                let error = Control::decode(&octets[..length]).unwrap_err();
                match length {
                    0 | 1 => assert_eq!(error, ControlError::Short),
                    _ => assert_eq!(error, ControlError::Malformed(octets[1])),
                }
            }
            let longer = [&octets[..], &[0]].concat();
            assert_eq!(Control::decode(&longer), Err(ControlError::Malformed(octets[1])));
        }
    }

    #[test]
    fn versions_and_types_that_are_not_known_are_named() {
        assert_eq!(Control::decode(&[2, 1, 1]), Err(ControlError::Version(2)));
        assert_eq!(Control::decode(&[2]), Err(ControlError::Version(2)));
        assert_eq!(Control::decode(&[1, 9]), Err(ControlError::Type(9)));
        assert_eq!(Control::decode(&[1, 1, 3]), Err(ControlError::Malformed(1)));
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let octets = Control::Refused("ä".repeat(150)).encode();
        assert_eq!(Control::decode(&octets), Ok(Control::Refused("ä".repeat(100))));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            if let Ok(control) = Control::decode(&octets)
                && !matches!(control, Control::Refused(_))
            {
                prop_assert_eq!(&control.encode()[..], &octets[..]);
            }
        }
    }
}
