//! SCTP (RFC 9260) without I/O.
//!
//! An [`Endpoint`] owns associations. Packets, time and the application's wishes go in by method calls; packets, events
//! and the time of the next timeout come out by `poll_*` calls. Nothing here reads a clock, opens a socket, starts a thread or
//! looks at the environment, so the same calls give the same results, always: time is an argument, and randomness comes from
//! a seed.
#![forbid(unsafe_code)]

mod answer;
mod association;
mod config;
mod congestion;
mod cookie;
mod data;
mod datagram;
mod endpoint;
mod error;
mod event;
mod icmp;
mod id;
mod message;
mod path;
mod remote_error;
mod spent;
mod stats;
mod timers;
mod wheel;

pub mod serial;
pub mod time;
pub mod wire;

pub use association::Association;
pub use config::{
    AssociationConfig, CongestionAlgorithm, Connect, EndpointConfig, ListenConfig, OutOfTheBluePolicy, StreamScheduler,
    WorkerSteering,
};
pub use datagram::{ChecksumState, CopyPayload, Datagram, Ecn, PayloadSource, SharedPayload, Transmit};
pub use endpoint::Endpoint;
pub use error::{AssociationError, ConfigError, ConnectError, ListenError, SendError};
pub use event::{
    CloseReason, Discard, Event, Handled, LastTsns, PathInfo, PathState, PeerChange, SendFailure, TagChange, TagKind,
};
pub use icmp::{IcmpHandled, IcmpMessage};
pub use id::AssociationId;
pub use message::{Message, MessagePart, ReceivedMessage};
pub use remote_error::RemoteError;
pub use sctp_common::cookie::CookieSecret;
pub use stats::{AssociationState, AssociationStats, AssociationStatus, EcnStats};
