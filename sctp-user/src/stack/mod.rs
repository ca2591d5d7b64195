//! Workers: what joins a link to a protocol endpoint and both to the application.
//!
//! ```text
//!   application tasks            worker thread (one per core)              NIC
//!  ┌──────────────────┐   ┌──────────────────────────────────────┐   ┌───────────┐
//!  │ Association ─────┼──▶│ Channel ─▶ Endpoint ─▶ transmit ─────┼──▶│ tx ring   │
//!  │   send, recv  ◀──┼───│ Channel ◀─ Endpoint ◀─ receive ◀─────┼───│ rx ring   │
//!  │ Stack, Listener ─┼──▶│ Mailbox: commands, hand-over         │   │           │
//!  └──────────────────┘   └──────────────────────────────────────┘   └───────────┘
//! ```
//!
//! * [`worker`]: the loop.
//! * [`mailbox`]: how other threads reach a worker, and wake it.
//! * [`channel`]: the way of messages between an association's handles and its worker.
//! * [`steer`]: which worker a packet belongs to, and the directory of peers.
//! * [`ports`]: which ports the data path takes for us.
//! * [`wait`]: tasks that wait, without a runtime.

pub(crate) mod accept;
pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod command;
pub(crate) mod mailbox;
pub(crate) mod notification;
pub(crate) mod ports;
pub(crate) mod spin;
pub(crate) mod steer;
pub(crate) mod table;
pub(crate) mod wait;
pub(crate) mod worker;
