//! User data on its way: what waits to be sent, what is outstanding, what has arrived and what is being put together.
//!
//! Nothing in here knows of packets, timers or states; the association does.

mod outbound_chunk;
pub(crate) mod outstanding;
pub(crate) mod reassembly;
pub(crate) mod runs;
pub(crate) mod send_queue;
pub(crate) mod streams;
pub(crate) mod tsn_tracker;
