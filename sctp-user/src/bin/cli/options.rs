//! Options that the subcommands share.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum, value_parser};
use sctp_user::datapath::xdp::{self, ChecksumPolicy, FragmentPolicy, kept};
use sctp_user::{AssociationConfig, Profile};

use super::values;

/// How the stack is opened.
#[derive(Args, Clone, Debug)]
pub(crate) struct StackOptions {
    /// Network interface to run on; may be given several times
    #[arg(short, long = "interface", value_name = "IF", required = true, help_heading = "Stack")]
    pub(crate) interfaces: Vec<String>,

    /// Worker threads, each of which owns its associations [default: as many as there are queues, at most one per CPU]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Stack")]
    pub(crate) workers: Option<usize>,

    /// Receive queues to use of each interface, from the first; packets on the others do not reach the stack, so keep SCTP
    /// off them (`ethtool -L IF combined N`) [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Stack")]
    pub(crate) queues: Option<usize>,

    /// Address of this host to use and to announce to peers; may be given several times [default: all of the interfaces]
    #[arg(long = "local-address", value_name = "ADDR", help_heading = "Stack")]
    pub(crate) local_addresses: Vec<IpAddr>,

    /// Accept packets without a checksum (zero): for links inside one host, where senders leave it to "offload"
    #[arg(long, help_heading = "Stack")]
    pub(crate) trusted_link: bool,

    /// Who verifies the checksums of received packets: xdp (the XDP program), user (the workers), split (the XDP program up to
    /// 256 bytes, or up to N as split=N)
    #[arg(long, value_name = "WHO", default_value_t, help_heading = "Stack")]
    pub(crate) checksum: ChecksumPolicy,

    /// What to do with packets that belong to no association: answer them with ABORT or SHUTDOWN COMPLETE, or be silent
    #[arg(long, value_name = "HOW", value_enum, default_value_t, help_heading = "Stack")]
    pub(crate) ootb: OutOfTheBlue,

    /// What to do with packets for the stack that come in IP fragments: have the kernel reassemble them and take them, drop and count
    /// them, or leave them to others that the kernel reassembles them for
    #[arg(long, value_name = "HOW", value_enum, default_value_t, help_heading = "Stack")]
    pub(crate) fragments: Fragments,

    /// Let the XDP program answer the HEARTBEATs of peers, without waking a worker
    #[arg(long, help_heading = "Stack")]
    pub(crate) xdp_heartbeats: bool,

    /// Let the XDP program answer INITs with State Cookies: under load (auto), always, or not at all (off), so that all go to workers
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, help_heading = "Stack")]
    pub(crate) init_cookies: InitCookies,

    /// INITs a second on each CPU beyond which there is load
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..), default_value_t = 10_000, help_heading = "Stack")]
    pub(crate) init_threshold: u32,

    /// Keep the XDP program attached when this command ends, however it ends, and let `sctp xdp replace` exchange it meanwhile. DIR is in a
    /// BPF file system [default: /sys/fs/bpf/sctp]
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = kept::DEFAULT_DIRECTORY,
        help_heading = "Stack"
    )]
    pub(crate) keep_program: Option<PathBuf>,

    /// UDP port for SCTP in UDP (RFC 6951): what comes to it is taken, what goes in UDP goes from it; 9899 is the registered one [default:
    /// none]
    #[arg(long, value_name = "PORT", help_heading = "Stack")]
    pub(crate) udp_port: Option<NonZeroU16>,

    /// Write all frames of the stack to a capture file that Wireshark reads
    #[arg(long, value_name = "FILE.pcapng", help_heading = "Stack")]
    pub(crate) capture: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) association: AssociationOptions,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// What to do with packets "out of the blue" (RFC 9260 §8.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutOfTheBlue {
    /// Answer them, at a limited rate, as the RFC says
    #[default]
    Answer,
    /// Answer none
    Silent,
}

/// When the XDP program answers INITs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum InitCookies {
    /// Not at all
    Off,
    /// When there are more than --init-threshold
    #[default]
    Auto,
    /// Always, as far as it can
    Always,
}

impl From<InitCookies> for xdp::InitCookies {
    fn from(when: InitCookies) -> Self {
        match when {
            InitCookies::Off => Self::Off,
            InitCookies::Auto => Self::Auto,
            InitCookies::Always => Self::Always,
        }
    }
}

/// What to do with IP fragments of packets for the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fragments {
    /// Have the kernel reassemble them
    #[default]
    Reassemble,
    /// Drop and count them
    Drop,
    /// Leave them to the kernel
    Pass,
}

impl From<Fragments> for FragmentPolicy {
    fn from(fragments: Fragments) -> Self {
        match fragments {
            Fragments::Reassemble => Self::Reassemble,
            Fragments::Drop => Self::Drop,
            Fragments::Pass => Self::Pass,
        }
    }
}

/// Settings of associations.
#[derive(Args, Clone, Debug)]
pub(crate) struct AssociationOptions {
    /// Timers and limits of associations: default, rfc (RFC 9260 to the letter), signalling (core network), ran (radio access)
    #[arg(long, value_name = "NAME", default_value_t, hide_default_value = true, help_heading = "Stack")]
    pub(crate) profile: Profile,

    /// UDP port of the peer, to connect to it in UDP (RFC 6951); needs --udp-port [default: directly over IP]
    #[arg(long, value_name = "PORT", help_heading = "Stack")]
    pub(crate) remote_udp_port: Option<NonZeroU16>,

    /// Look again for a larger MTU of a path that was found to be narrow after this time, 1 s or more [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Stack")]
    pub(crate) path_mtu_raise: Option<Duration>,
}

impl AssociationOptions {
    /// The settings for associations with at most so many streams each way. The side that sets an association up asks for
    /// exactly what it needs: streams that are not granted cost neither side memory.
    pub(crate) fn config(&self, streams: u16) -> AssociationConfig {
        let profile = self.profile.config();
        AssociationConfig {
            outbound_streams: streams,
            max_inbound_streams: streams,
            remote_udp_port: self.remote_udp_port,
            path_mtu_raise: self.path_mtu_raise.unwrap_or(profile.path_mtu_raise),
            ..profile
        }
    }
}

/// How much is logged.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Verbosity {
    /// Log to standard error; more with -vv and -vvv
    #[arg(short = 'v', long = "verbose", action = ArgAction::Count)]
    pub(crate) level: u8,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let count = values::positive_count(text)?;
    usize::try_from(count).map_err(|_| format!("`{text}` is too large"))
}
