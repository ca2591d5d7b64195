//! Errors of the calls an application makes. Each says what can be done about it.

use core::net::IpAddr;

use thiserror::Error;

use crate::Message;

/// A setting has a value that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("setting `{setting}` is out of range: allowed is {allowed}")]
pub struct ConfigError {
    /// Name of the field.
    pub setting: &'static str,
    /// What it may be.
    pub allowed: &'static str,
}

/// Why [`Endpoint::listen`](crate::Endpoint::listen) refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Port 0 is not a port (RFC 9260 §3.1).
    #[error("port 0 cannot be listened on: choose one from 1 to 65535")]
    PortZero,
    /// The port is being listened on already.
    #[error("port {0} is being listened on already: stop that listener first or choose another port")]
    PortInUse(u16),
    /// The settings for accepted associations are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Why [`Endpoint::connect`](crate::Endpoint::connect) refused. (A peer that does not answer is reported by
/// [`Event::Closed`](crate::Event::Closed) later.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No peer address was given.
    #[error("no peer address was given: name at least one")]
    NoPeerAddress,
    /// More peer addresses than [`AssociationConfig::max_paths`](crate::AssociationConfig::max_paths).
    #[error("too many peer addresses: at most {max} are allowed (setting `max_paths`)")]
    TooManyAddresses {
        /// How many are allowed.
        max: usize,
    },
    /// Not an address of one host.
    #[error("{0} is not a unicast address of a host")]
    InvalidAddress(IpAddr),
    /// A local address that the endpoint does not have.
    #[error("{0} is not an address of this endpoint: use one of its own, or none for all")]
    NotOurAddress(IpAddr),
    /// Neither side of the association would have an address of the other's kind.
    #[error("none of our addresses is of the same family (IPv4, IPv6) as {0}")]
    NoSourceFor(IpAddr),
    /// A port is zero.
    #[error("port 0 cannot be used: choose one from 1 to 65535")]
    PortZero,
    /// There is an association between these ports and addresses already (RFC 9260 §11.1.2).
    #[error(
        "an association with {peer}:{peer_port} from port {local_port} exists already: use it or another local port"
    )]
    Exists {
        /// The peer's address.
        peer: IpAddr,
        /// The peer's port.
        peer_port: u16,
        /// Our port.
        local_port: u16,
    },
    /// Packets were to go in UDP, and the endpoint has no UDP port to send them from ([`EndpointConfig::udp_port`](crate::EndpointConfig)).
    #[error("packets cannot go in UDP without a local UDP encapsulation port: set one (`udp_port`)")]
    NoUdpPort,
    /// Every ephemeral port is taken for this peer.
    #[error("no ephemeral port is free for this peer: close associations or widen `ephemeral_ports`")]
    NoFreePort,
    /// The limit of associations is reached.
    #[error("the endpoint has its {max} associations already (setting `max_associations`)")]
    TooManyAssociations {
        /// The limit.
        max: usize,
    },
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The send buffer is full. The message comes back; try again after [`Event::Writable`](crate::Event::Writable).
    #[error("the send buffer is full: try again when the association is writable")]
    WouldBlock(Message),
    /// The association has ended or never was.
    #[error("the association does not exist any more")]
    NoAssociation,
    /// The association is being shut down (RFC 9260 §9.2).
    #[error("the association is shutting down and takes no more messages")]
    ShuttingDown,
    /// The stream is not among those negotiated.
    #[error("stream {stream} does not exist: the association has {streams} outbound streams")]
    InvalidStream {
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

/// Why an action on an association did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AssociationError {
    /// The association has ended or never was.
    #[error("the association does not exist any more")]
    NoAssociation,
    /// The address is not one of the peer's.
    #[error("{0} is not an address of the peer")]
    NoSuchPath(IpAddr),
    /// The peer has not been told of this address as one of ours.
    #[error("{0} is not an address that the peer knows as ours")]
    NotOurAddress(IpAddr),
    /// Packets were to go in UDP, and the endpoint has no UDP port to send them from ([`EndpointConfig::udp_port`](crate::EndpointConfig)).
    #[error("packets cannot go in UDP without a local UDP encapsulation port: set one (`udp_port`)")]
    NoUdpPort,
    /// The setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}
