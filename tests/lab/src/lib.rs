//! Network laboratories for the tests, the demonstration and the benchmarks.
//!
//! What needs a network runs on one that exists for the occasion only: namespaces joined by veth pairs, or a TAP device.
//! Nothing here touches the machine's own interfaces, and nothing stays behind:
//!
//! * a [`Namespace`] is deleted when its guard is dropped, by its [janitor](netns) when the process dies without dropping
//!   anything, and by [`sweep`] when even the janitor could not run;
//! * a [`Process`] is killed when its guard is dropped, and by the kernel when its parent dies.
//!
//! ```no_run
//! use sctp_lab::{Pair, PairConfig, Process};
//! # fn main() -> anyhow::Result<()> {
//! let pair = Pair::create("example", &PairConfig { queues: 2, ..PairConfig::default() })?;
//! let mut links = Process::spawn(pair.left.namespace.command("ip").args(["link", "show", &pair.left.interface]))?;
//! assert!(links.wait(std::time::Duration::from_secs(5))?.status.success());
//! # Ok(())
//! # }
//! ```
//!
//! Most of this needs root; [`require_root`] is the first line of every test that uses it.

pub mod bpffs;
pub mod cable;
pub mod capture;
pub mod content;
pub mod cpus;
pub mod crowd;
pub mod faults;
pub mod flood;
pub mod frame;
pub mod interrupt;
pub mod kernel;
pub mod netns;
pub mod packet_socket;
pub mod peer;
pub mod privilege;
pub mod process;
pub mod routers;
pub mod sctp;
mod sys;
pub mod tap;
pub mod tool;
pub mod uml;
pub mod veth;

pub use bpffs::BpfFs;
pub use cable::{Cable, Faults};
pub use crowd::Crowd;
pub use flood::{Flood, Garbage};
pub use netns::{Namespace, sweep};
pub use packet_socket::PacketSocket;
pub use privilege::{is_root, require_root};
pub use process::{Finished, Process};
pub use sctp::Sctp;
pub use tap::Tap;
pub use veth::{Host, Pair, PairConfig};
