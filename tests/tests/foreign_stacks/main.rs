//! What usrsctp and the Linux kernel are put through in the same way, each as our client and as our server: how associations
//! end, restarts, faults of the network, several paths, a path that becomes narrow.
//!
//! A function is one row and takes the stack; those of the kernel share a guest, because each boot takes seconds.

mod ending;
mod faults;
mod path_mtu;
mod paths;
mod restart;
mod sizes;

use sctp_lab::veth::Family;
use sctp_lab::{PairConfig, require_root};
use sctp_tests::foreign::{Foreign, Stack};

/// Both families.
const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

/// One thing to be shown, and its name.
type Row = (&'static str, fn(&Foreign, Family));

/// One cable that can have faults.
fn faulty() -> PairConfig {
    PairConfig { faulty: true, ..PairConfig::default() }
}

/// Two of them.
fn two_cables() -> PairConfig {
    PairConfig { cables: 2, ..faulty() }
}

/// Runs rows one after the other on one pair of hosts, and names each.
fn run(stack: Stack, label: &str, config: &PairConfig, rows: &[Row]) {
    if !require_root() {
        return;
    }
    let foreign = Foreign::new(stack, label, config).unwrap();
    for family in FAMILIES {
        for (name, row) in rows {
            let started = std::time::Instant::now();
            println!("{name}, {family:?}");
            row(&foreign, family);
            println!("{name}, {family:?}: {:.1} s", started.elapsed().as_secs_f64());
        }
    }
}

/// The rows of a group as tests: those for both stacks and, behind them, those for usrsctp alone.
macro_rules! rows {
    ($label:literal, $config:expr, [$($row:ident),* $(,)?], usrsctp alone: [$($alone:ident),* $(,)?]) => {
        #[test]
        fn usrsctp() {
            let rows: &[$crate::Row] = &[$((stringify!($row), $row),)* $((stringify!($alone), $alone)),*];
            $crate::run(Stack::Usrsctp, concat!($label, "u"), &$config, rows);
        }

        #[test]
        fn kernel() {
            let rows: &[$crate::Row] = &[$((stringify!($row), $row)),*];
            $crate::run(Stack::Kernel, concat!($label, "k"), &$config, rows);
        }
    };
    ($label:literal, $config:expr, $rows:tt) => {
        $crate::rows!($label, $config, $rows, usrsctp alone: []);
    };
}
pub(crate) use rows;
