//! What applications use: handles of the stack, of listeners and of associations.
//!
//! The futures of this room belong to no runtime: they are woken by the stack's own threads and can
//! be polled by any executor. All of them can be dropped at any time; each says what that means.

mod association;
mod builder;
mod error;
mod interfaces;
mod listener;
mod message;
mod options;
mod stack;

pub use association::{Association, Notifications};
pub use builder::StackBuilder;
pub use error::{
    AcceptError, BuildError, CloseError, ConnectError, ListenError, PathError, RecvError, SendError, TrySendError,
};
pub use listener::Listener;
pub use message::MessageReader;
pub use options::{ConnectOptions, ListenOptions, Profile};
pub use stack::Stack;

#[cfg(test)]
mod tests;
