//! Errors, one type per operation. Each says what can be done about it.

use std::io;
use std::net::IpAddr;

use sctp_core::{AssociationError, CloseReason, ConfigError, Message};
use thiserror::Error;

use crate::datapath::xdp::OpenError;
use crate::stack::channel::Refused;
use crate::stack::command::ConnectFailure;
use crate::stack::notification::Ended;

/// Why a [`Stack`](crate::Stack) could not be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is nothing to send and receive packets on.
    #[error("no interface was named: name at least one")]
    NoLink,
    /// Interfaces and links of the caller's own cannot be mixed.
    #[error("a stack runs on interfaces or on links that the program brings, not on both")]
    MixedLinks,
    /// Without a worker nothing would be done.
    #[error("0 workers can do nothing: ask for at least one")]
    NoWorkers,
    /// The XDP programs could not be told of our addresses.
    #[error("the XDP programs did not take the addresses of the interfaces: {0}")]
    Addresses(#[source] io::Error),
    /// The XDP programs could not be told how State Cookies are checked.
    #[error("the XDP programs did not take the secret of State Cookies: {0}")]
    Cookies(#[source] io::Error),
    /// More workers were asked for than there can be.
    #[error("{0} workers are too many: at most {max} are possible", max = u16::MAX)]
    TooManyWorkers(usize),
    /// The interfaces could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The settings of associations are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system gave no random numbers.
    #[error("cannot read random numbers from /dev/urandom: {0}")]
    Random(#[source] io::Error),
    /// A worker's thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[source] io::Error),
}

/// Why a port cannot be listened on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The protocol refused: the port is zero or in use, or a setting is out of range.
    #[error(transparent)]
    Refused(#[from] sctp_core::ListenError),
    /// The data path could not take the port.
    #[error("port {port} cannot be taken over: {source}")]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The stack has stopped.
    #[error("the stack has stopped: {0}")]
    Stopped(String),
}

/// Why no association is accepted any more.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The stack has stopped.
    #[error("the stack has stopped: {0}")]
    Stopped(String),
}

/// Why an association could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The protocol refused to try.
    #[error(transparent)]
    Refused(#[from] sctp_core::ConnectError),
    /// The data path could not take the local port.
    #[error("the local port cannot be taken over: {0}")]
    Port(#[source] io::Error),
    /// The attempt failed.
    #[error("{0}")]
    Failed(CloseReason),
    /// The stack has stopped.
    #[error("the stack has stopped: {0}")]
    Stopped(String),
}

impl From<ConnectFailure> for ConnectError {
    fn from(failure: ConnectFailure) -> ConnectError {
        match failure {
            ConnectFailure::Refused(error) => ConnectError::Refused(error),
            ConnectFailure::Port(error) => ConnectError::Port(error),
        }
    }
}

impl From<&Ended> for ConnectError {
    fn from(ended: &Ended) -> ConnectError {
        match ended {
            Ended::Closed(reason) => ConnectError::Failed(reason.clone()),
            Ended::Stopped(why) => ConnectError::Stopped(why.clone()),
        }
    }
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The association is closing or has ended: [`closed`](crate::Association::closed) says how.
    #[error("the association takes no more messages: it is closing or has ended")]
    Closed,
    /// The stream is not among those negotiated.
    #[error("stream {stream} does not exist: the association has {streams} outbound streams")]
    NoSuchStream {
        /// The stream asked for.
        stream: u16,
        /// How many there are.
        streams: u16,
    },
    /// The address that the message was to be sent to is not one of the peer's.
    #[error("{0} is not an address of the peer")]
    NoSuchPath(IpAddr),
    /// A message must have at least one byte (RFC 9260 §3.3.1).
    #[error("a message must have at least one byte")]
    Empty,
    /// The message is longer than allowed.
    #[error("the message has {len} bytes: at most {max} are allowed (setting `max_message_size`)")]
    TooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}

/// Why a message was not taken at once.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room at present; the message comes back.
    #[error("the association has no room for another message at present")]
    Full(Message),
    /// It would not be taken later either.
    #[error(transparent)]
    Refused(#[from] SendError),
}

impl TrySendError {
    /// From what a channel said about a message on `stream` of `len` bytes.
    pub(crate) fn from_refused(refused: Refused, stream: u16, len: usize) -> TrySendError {
        TrySendError::Refused(match refused {
            Refused::Full(message) => return TrySendError::Full(message),
            Refused::Closed => SendError::Closed,
            Refused::NoSuchStream { streams } => SendError::NoSuchStream { stream, streams },
            Refused::Empty => SendError::Empty,
            Refused::TooLarge { limit } => SendError::TooLong { len, max: limit },
        })
    }
}

/// Why there are no more messages, although the peer did not end the association in order.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The association was lost or aborted.
    #[error("the association is gone: {0}")]
    Lost(CloseReason),
    /// The stack has stopped.
    #[error("the stack has stopped: {0}")]
    Stopped(String),
}

/// Why an association did not end in order: messages may not have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The association was lost or aborted.
    #[error("the association did not end in order: {0}")]
    Lost(CloseReason),
    /// The association ended in order, but the peer had shut it down before the last messages that
    /// the application gave could be sent. [`Notification::SendFailed`](crate::Notification::SendFailed)
    /// names each.
    #[error("the peer shut the association down before the last {messages} messages were sent")]
    Unsent {
        /// How many.
        messages: usize,
    },
    /// The stack has stopped.
    #[error("the stack has stopped: {0}")]
    Stopped(String),
}

/// Why something could not be done with an association or one of its paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathError {
    /// The association has ended.
    #[error("the association has ended")]
    Ended,
    /// The address is not one of the peer's.
    #[error("{0} is not an address of the peer")]
    NoSuchPath(IpAddr),
    /// The peer has not been told of this address as one of ours.
    #[error("{0} is not an address that the peer knows as ours")]
    NotOurAddress(IpAddr),
    /// A setting is out of its range, or cannot be changed any more.
    #[error(transparent)]
    Setting(ConfigError),
}

impl From<AssociationError> for PathError {
    fn from(error: AssociationError) -> PathError {
        match error {
            AssociationError::NoSuchPath(address) => PathError::NoSuchPath(address),
            AssociationError::NotOurAddress(address) => PathError::NotOurAddress(address),
            AssociationError::Config(error) => PathError::Setting(error),
            _ => PathError::Ended,
        }
    }
}

/// The end of an association as a result: `Ok` when it ended in order.
pub(crate) fn in_order<E>(
    ended: &Ended,
    lost: impl FnOnce(CloseReason) -> E,
    stopped: impl FnOnce(String) -> E,
) -> Result<(), E> {
    match ended {
        Ended::Closed(CloseReason::Shutdown) => Ok(()),
        Ended::Closed(reason) => Err(lost(reason.clone())),
        Ended::Stopped(why) => Err(stopped(why.clone())),
    }
}
