//! What the project needs of the machine beside Rust, and how to see whether it is there.

use std::path::Path;

use sctp_lab::tool;

/// What somebody wants to do, from which follows what must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Compile.
    Build,
    /// Run in network namespaces.
    Lab,
    /// Run the tests: against all foreign peers, too.
    Test,
    /// All of it: what `cargo xtask setup` sees to.
    All,
}

/// One thing that the machine must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// For people.
    pub(crate) what: &'static str,
    /// What it is needed for.
    pub(crate) why: &'static str,
    /// How to see whether it is there.
    pub(crate) probe: Probe,
    /// The package of Debian and Ubuntu that brings it.
    pub(crate) package: &'static str,
    /// The least purpose that needs it.
    pub(crate) purpose: Purpose,
    /// Where the distribution has no such package, the rest works without it.
    pub(crate) optional: bool,
}

impl Need {
    /// True if it is there.
    pub(crate) fn is_met(&self) -> bool {
        match self.probe {
            Probe::Program(program) => tool::is_installed(program),
            Probe::File(file) => Path::new(file).exists(),
        }
    }
}

/// How to see whether a [`Need`] is met. Both are quick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// A program on the search path, or in the system's directories.
    Program(&'static str),
    /// A file.
    File(&'static str),
}

/// Everything but the compiler and the linker for the BPF target, which `sctp-ebpf-toolchain` looks for.
pub(crate) const NEEDS: [Need; 11] = [
    Need {
        what: "a C compiler",
        why: "links Rust programs and compiles the foreign peers",
        probe: Probe::Program("cc"),
        package: "gcc",
        purpose: Purpose::Build,
        optional: false,
    },
    Need {
        what: "the C library's headers",
        why: "compiles the foreign peers",
        probe: Probe::File("/usr/include/stdio.h"),
        package: "libc6-dev",
        purpose: Purpose::Build,
        optional: false,
    },
    Need {
        what: "ip",
        why: "makes the network namespaces and veth pairs of demonstration and tests",
        probe: Probe::Program("ip"),
        package: "iproute2",
        purpose: Purpose::Lab,
        optional: false,
    },
    Need {
        what: "ethtool",
        why: "turns checksum offload off on them, so that XDP sees real checksums",
        probe: Probe::Program("ethtool"),
        package: "ethtool",
        purpose: Purpose::Lab,
        optional: false,
    },
    Need {
        what: "usrsctp",
        why: "is the foreign SCTP stack that ours talks to",
        probe: Probe::File("/usr/include/usrsctp.h"),
        package: "libusrsctp-dev",
        purpose: Purpose::Lab,
        optional: false,
    },
    Need {
        what: "User-Mode Linux",
        why: "is the Linux kernel's own SCTP as a peer, without its module on this machine",
        probe: Probe::Program("linux.uml"),
        package: "user-mode-linux",
        purpose: Purpose::Test,
        optional: false,
    },
    Need {
        what: "busybox",
        why: "is most of the system that runs in User-Mode Linux",
        probe: Probe::Program("busybox"),
        package: "busybox-static",
        purpose: Purpose::Test,
        optional: false,
    },
    Need {
        what: "tshark",
        why: "judges our captures: malformed packets, checksums",
        probe: Probe::Program("tshark"),
        package: "tshark",
        purpose: Purpose::Lab,
        optional: false,
    },
    Need {
        what: "nmap",
        why: "scans our ports, as a stranger sees them",
        probe: Probe::Program("nmap"),
        package: "nmap",
        purpose: Purpose::Test,
        optional: false,
    },
    Need {
        what: "setcap",
        why: "lets `cargo xtask deploy` give the `sctp` command its capabilities",
        probe: Probe::Program("setcap"),
        package: "libcap2-bin",
        purpose: Purpose::All,
        optional: false,
    },
    Need {
        what: "bpftool",
        why: "shows loaded programs and maps when something is to be found out by hand",
        probe: Probe::Program("bpftool"),
        package: "bpftool",
        purpose: Purpose::All,
        optional: true,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_see_what_is_there() {
        let need = |probe| Need { probe, ..NEEDS[0] };
        assert!(need(Probe::Program("sh")).is_met());
        assert!(need(Probe::File("/proc")).is_met());
        assert!(!need(Probe::Program("no-such-program-here")).is_met());
        assert!(!need(Probe::File("/no/such/file")).is_met());
    }

    #[test]
    fn every_need_says_what_for() {
        for need in NEEDS {
            assert!(!need.why.is_empty() && !need.package.is_empty(), "{need:?}");
        }
    }
}
