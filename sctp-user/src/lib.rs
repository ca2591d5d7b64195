//! An SCTP stack (RFC 9260) that owns its packets from the network interface's queue to the
//! application.
//!
//! An XDP program on the interface decides each packet's fate; what is ours and sound lands in an
//! AF_XDP socket, where a worker thread runs the protocol on it and hands the payload to the
//! application without copying it. No kernel module is needed: neither the kernel's SCTP nor a
//! raw socket is involved. The rest of the host's traffic goes on as before.
//!
//! ```no_run
//! use sctp_user::{ConnectOptions, ListenOptions, Message, Stack};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let stack = Stack::builder().interface("eth0").build()?;
//!
//! // A server: echoes what it gets.
//! let mut listener = stack.listen(38412, ListenOptions::default()).await?;
//! let association = listener.accept().await?;
//! while let Some(message) = association.recv().await? {
//!     let echo = Message::new(message.stream, message.clone().into_bytes());
//!     association.send(echo.with_ppid(message.ppid)).await?;
//! }
//!
//! // A client.
//! let association = stack.connect("10.0.0.2:38412".parse()?, ConnectOptions::default()).await?;
//! association.send(Message::new(0, "hello".into()).with_ppid(60)).await?;
//! let answer = association.recv().await?;
//! association.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Rooms
//!
//! | module | holds |
//! |---|---|
//! | [`sctp_core`] (a crate of its own) | the protocol, without I/O |
//! | [`datapath`] | how packets come and go: XDP and AF_XDP, or a network in memory |
//! | `stack` | workers: the threads that join a data path to the protocol |
//! | the handles at the root | what applications use: [`Stack`], [`Listener`], [`Association`] |
//! | [`telemetry`] | statistics, the service behind `sctp stats`, captures |
//!
//! # Threads
//!
//! A [`Stack`] has one worker thread per core in use. An association belongs to one worker; messages
//! go between it and the application by lock-free queues. The futures of this crate belong to no
//! runtime: any executor can poll them.

pub mod datapath;
pub mod telemetry;

mod socket;
mod stack;

pub use sctp_core::{
    AssociationConfig, AssociationId, AssociationState, AssociationStatus, CloseReason, CongestionAlgorithm, LastTsns,
    Message, MessagePart, PathInfo, PathState, ReceivedMessage, RemoteError, SendFailure,
};

pub use socket::{
    AcceptError, Association, BuildError, CloseError, ConnectError, ConnectOptions, ListenError, ListenOptions,
    Listener, MessageReader, Notifications, PathError, Profile, RecvError, SendError, Stack, StackBuilder,
    TrySendError,
};
pub use stack::notification::Notification;
