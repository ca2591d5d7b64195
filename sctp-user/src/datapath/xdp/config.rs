//! What can be set, and what was made of it.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use sctp_common::maps::policy;
use sctp_common::steering::Steering;

use super::super::FrameSize;
use super::super::capture::CaptureSink;
use super::error::OpenError;

/// Which interfaces to open, and how.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// Names of the interfaces. At least one.
    pub interfaces: Vec<String>,
    /// How many workers there are, which is how many links are made, and the key by which the XDP program
    /// finds the worker that a packet is for. Endpoints must use the same.
    pub steering: Steering,
    /// How many queues of each interface to use, from queue 0 on. `None`: all that it has. What arrives on
    /// further queues cannot be received, so fewer than all make sense only where the NIC is told to use no
    /// others.
    pub queues: Option<u32>,
    /// Where in the kernel the program runs.
    pub attach: AttachMode,
    /// A directory in a BPF file system in which to keep the programs, so that they stay attached when this process has ended and can
    /// be replaced while it runs ([`kept`](super::kept)). `None`: they go with the process, however it ends.
    pub keep: Option<PathBuf>,
    /// Whether the kernel copies packets.
    pub copy: CopyPolicy,
    /// The interfaces are trusted local links (veth, tap): packets whose checksum is zero are accepted,
    /// because their sender left it to an offload that never happens.
    pub trusted_link: bool,
    /// Who verifies the packets' checksums.
    pub checksum: ChecksumPolicy,
    /// Packets that belong to no association are never answered (RFC 9260 §8.4).
    pub silent_out_of_the_blue: bool,
    /// What becomes of packets for us that come in IP fragments.
    pub fragments: FragmentPolicy,
    /// The XDP program answers the HEARTBEATs of live associations (RFC 9260 §8.3), so that idle associations wake no worker; not on
    /// veth, which may not send the answers.
    pub answer_heartbeats: bool,
    /// Whether the XDP program answers INITs with a State Cookie (RFC 9260 §5.1.3).
    pub init_cookies: InitCookies,
    /// How many INITs a second go to workers from each CPU before [`InitCookies::Auto`] does something about more.
    pub init_threshold: u32,
    /// Our UDP encapsulation port (RFC 6951): SCTP that comes to it in UDP is ours, and what goes in UDP goes from it. `None`: the kernel keeps
    /// all UDP.
    pub udp_port: Option<NonZeroU16>,
    /// How many frames to have. `None`: enough to fill every ring, and 4096 for each worker besides.
    pub frames: Option<u32>,
    /// Size of a frame.
    pub frame_size: FrameSize,
    /// Whether to put the frames into huge pages, where there are any.
    pub huge_pages: bool,
    /// Entries of each socket's receive ring, a power of two.
    pub receive_ring: u32,
    /// Entries of each worker's transmit ring on each interface, a power of two.
    pub transmit_ring: u32,
    /// Entries of each queue's fill ring, a power of two: how many packets can arrive while no worker
    /// runs.
    pub fill_ring: u32,
    /// How many verification tags the program can know, two for each association. `None`: what it was built
    /// with.
    pub tags: Option<u32>,
    /// Differentiated services codepoint of outgoing packets, 0 to 63.
    pub dscp: u8,
    /// Where to record every frame that comes and goes.
    pub capture: Option<CaptureSink>,
}

impl XdpConfig {
    /// The defaults, for one interface.
    pub fn new(interface: impl Into<String>, steering: Steering) -> Self {
        Self {
            interfaces: vec![interface.into()],
            steering,
            queues: None,
            attach: AttachMode::default(),
            keep: None,
            copy: CopyPolicy::default(),
            trusted_link: false,
            checksum: ChecksumPolicy::default(),
            silent_out_of_the_blue: false,
            fragments: FragmentPolicy::default(),
            answer_heartbeats: false,
            init_cookies: InitCookies::default(),
            init_threshold: INIT_THRESHOLD,
            udp_port: None,
            frames: None,
            frame_size: FrameSize::default(),
            huge_pages: false,
            receive_ring: 2048,
            transmit_ring: 2048,
            fill_ring: 2048,
            tags: None,
            dscp: 0,
            capture: None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), OpenError> {
        if self.interfaces.is_empty() {
            return Err(OpenError::NoInterface);
        }
        for (index, interface) in self.interfaces.iter().enumerate() {
            if self.interfaces[..index].contains(interface) {
                return Err(OpenError::NamedTwice { interface: interface.clone() });
            }
        }
        let rings = [
            ("the receive ring", self.receive_ring),
            ("the transmit ring", self.transmit_ring),
            ("the fill ring", self.fill_ring),
        ];
        for (setting, value) in rings {
            if !value.is_power_of_two() || !(64..=MAX_RING).contains(&value) {
                let wanted = "a power of two from 64 to 65536";
                return Err(OpenError::Setting { setting, value: u64::from(value), wanted });
            }
        }
        let at_least_one = [
            ("the number of workers", Some(u32::from(self.steering.workers))),
            ("the number of queues", self.queues),
            ("the number of tags", self.tags),
        ];
        for (setting, value) in at_least_one {
            if value == Some(0) {
                return Err(OpenError::Setting { setting, value: 0, wanted: "at least 1" });
            }
        }
        if self.dscp > 63 {
            let value = u64::from(self.dscp);
            return Err(OpenError::Setting { setting: "the DSCP", value, wanted: "0 to 63" });
        }
        Ok(())
    }

    /// Bits of [`policy`] for the program on an interface whose driver sends what the program answers, or does not.
    pub(super) fn policy(&self, sends_answers: bool) -> u32 {
        let bits = [
            (self.trusted_link, policy::TRUSTED_LINK),
            (self.silent_out_of_the_blue, policy::SILENT),
            (self.fragments != FragmentPolicy::Drop, policy::PASS_FRAGMENTS),
            (self.answer_heartbeats && sends_answers, policy::ANSWER_HEARTBEATS),
            (!sends_answers, policy::WORKERS_ANSWER),
            (self.init_cookies != InitCookies::Off, policy::INIT_COOKIES),
            (self.init_cookies == InitCookies::Always && sends_answers, policy::ALWAYS_INIT_COOKIES),
        ];
        bits.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, bit)| all | bit)
    }

    /// How many frames to make for interfaces that have `queues` queues together.
    pub(super) fn frames_for(&self, queues: u32) -> Result<u32, OpenError> {
        let workers = u64::from(self.steering.workers);
        let fill = u64::from(queues) * u64::from(self.fill_ring);
        let transmit = workers * self.interfaces.len() as u64 * u64::from(self.transmit_ring);
        let least = fill + workers * 64;
        let frames = match self.frames {
            Some(frames) => u64::from(frames),
            None => fill + transmit + workers * FRAMES_PER_WORKER,
        };
        if frames < least {
            return Err(OpenError::Setting {
                setting: "the number of frames",
                value: frames,
                wanted: "enough for every queue's fill ring and 64 for each worker",
            });
        }
        u32::try_from(frames).map_err(|_| OpenError::Setting {
            setting: "the number of frames",
            value: frames,
            wanted: "below 2^32",
        })
    }
}

/// Where in the kernel the XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, or not at all.
    Native,
    /// In the driver if it can do that, else, with a warning, in the network stack's common code.
    #[default]
    NativeOrGeneric,
    /// In the network stack's common code, which every interface has: slower, for trying things out.
    Generic,
}

/// Whether the kernel may copy packets between the NIC and the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyPolicy {
    /// Zero-copy if every interface's driver can do that, else copies.
    #[default]
    Auto,
    /// Copies always.
    Copy,
    /// Zero-copy, or not at all.
    ZeroCopy,
}

/// What becomes of packets for us that come in IP fragments.
///
/// Only the first fragment has ports. The XDP program never sees whole packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FragmentPolicy {
    /// The kernel puts them together, within the bounds that it has for that, and a worker reads them from raw sockets. Needs a kernel whose
    /// own SCTP is not loaded, since that would get them too and answer that it knows of no such association; where it is loaded when
    /// the interfaces are opened, this is [`Drop`](Self::Drop), with a warning.
    ///
    /// While the raw sockets are open, the kernel answers no SCTP packet with ICMP Protocol Unreachable, whoever it was for.
    #[default]
    Reassemble,
    /// The XDP program drops the first fragment and counts it, so that the others come to nothing.
    Drop,
    /// All are left to the kernel, for whoever reassembles there.
    Pass,
}

/// Whether the XDP program answers INITs itself (RFC 9260 §5.1.3), so that a flood of them costs no worker anything. Whoever gets an INIT ACK
/// of its and returns the cookie has the same association as if a worker had answered.
///
/// Some INITs only a worker can answer: above all those of peers that have an association already, to restart it, and those in UDP. Where
/// the program answers the others, it lets each CPU have 4000 of these a second, and each source network (/24 or /56) four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitCookies {
    /// It does not: all INITs go to workers, however many there are.
    Off,
    /// Those beyond [`XdpConfig::init_threshold`]. Where the driver does not send what the program answers (veth), those are taken for
    /// ones that only a worker can answer.
    #[default]
    Auto,
    /// All that it can; where the driver does not send, as [`Auto`](Self::Auto).
    Always,
}

/// How many INITs a second go to workers from each CPU unless something else is set.
pub(crate) const INIT_THRESHOLD: u32 = 10_000;

/// Who verifies the CRC32c of received packets.
///
/// Nobody acts on a packet before it has been verified, whichever it is. The XDP program computes it without
/// help of the CPU, at about a quarter of its speed, but on the core that receives; what it drops costs the
/// workers nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// The XDP program, so that no packet with a wrong one gets any further.
    #[default]
    Xdp,
    /// The XDP program those that are short or that it answers itself, the workers the others.
    Split {
        /// The longest SCTP packet, in bytes, common header included, that the XDP program verifies.
        limit: u32,
    },
    /// The workers, but for packets that the XDP program answers itself.
    User,
}

impl ChecksumPolicy {
    /// The limit of [`Split`](Self::Split) if none is named: up to there, computing it in the program costs little.
    pub const SPLIT_LIMIT: u32 = 256;

    /// The longest packet that the program verifies.
    pub(super) const fn verify_up_to(self) -> u32 {
        match self {
            Self::Xdp => u32::MAX,
            Self::Split { limit } => limit,
            Self::User => 0,
        }
    }
}

impl fmt::Display for ChecksumPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xdp => f.pad("xdp"),
            Self::Split { limit: Self::SPLIT_LIMIT } => f.pad("split"),
            Self::Split { limit } => write!(f, "split={limit}"),
            Self::User => f.pad("user"),
        }
    }
}

impl FromStr for ChecksumPolicy {
    type Err = String;

    /// `xdp`, `split`, `split=` and a number of bytes, or `user`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "xdp" => Ok(Self::Xdp),
            "split" => Ok(Self::Split { limit: Self::SPLIT_LIMIT }),
            "user" => Ok(Self::User),
            _ => match text.strip_prefix("split=").map(str::parse) {
                Some(Ok(limit)) => Ok(Self::Split { limit }),
                Some(Err(_)) => Err(format!("`{text}` names no number of bytes: write for example split=512")),
                None => Err(format!("nobody called `{text}` verifies checksums: choose xdp, split or user")),
            },
        }
    }
}

/// How the interfaces are being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Whether packets go without copies between NIC and frames (as `XDP_OPTIONS` tells).
    pub zero_copy: bool,
    /// How many workers there are.
    pub workers: u16,
    /// The interfaces, in the order in which they were named.
    pub interfaces: Vec<InterfaceMode>,
    /// What becomes of packets in IP fragments.
    pub fragments: FragmentPolicy,
    /// How many frames there are.
    pub frames: u32,
    /// Their size in bytes.
    pub frame_size: u32,
    /// Whether they lie in huge pages.
    pub huge_pages: bool,
}

/// How one interface is being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceMode {
    /// Its name.
    pub name: String,
    /// The kernel's number for it.
    pub ifindex: u32,
    /// How many of its queues are in use.
    pub queues: u32,
    /// Whether the program runs in the driver rather than in the network stack's common code.
    pub native: bool,
}

/// What the kernel accepts for a ring is more, but no program needs it.
const MAX_RING: u32 = 65536;

const FRAMES_PER_WORKER: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> XdpConfig {
        XdpConfig::new("eth0", Steering { key: [1, 2], workers: 2 })
    }

    fn refused(change: impl FnOnce(&mut XdpConfig)) -> String {
        let mut config = config();
        change(&mut config);
        config.validate().expect_err("a setting that makes no sense").to_string()
    }

    #[test]
    fn the_defaults_make_sense() {
        config().validate().expect("defaults");
        assert_eq!(config().frames_for(2).expect("frames"), 2 * 2048 + 2 * 2048 + 2 * 4096);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        assert_eq!(refused(|config| config.interfaces.clear()), "no interface was named: name at least one");
        assert_eq!(
            refused(|config| config.interfaces.push("eth0".to_owned())),
            "interface eth0 was named twice: name it once"
        );
        assert_eq!(
            refused(|config| config.receive_ring = 1000),
            "the receive ring is 1000: it must be a power of two from 64 to 65536"
        );
        assert_eq!(refused(|config| config.steering.workers = 0), "the number of workers is 0: it must be at least 1");
        assert_eq!(refused(|config| config.queues = Some(0)), "the number of queues is 0: it must be at least 1");
        assert_eq!(refused(|config| config.dscp = 64), "the DSCP is 64: it must be 0 to 63");
    }

    #[test]
    fn each_switch_is_a_bit_of_its_own() {
        assert_eq!(config().policy(true), policy::PASS_FRAGMENTS | policy::INIT_COOKIES);
        let config = || XdpConfig { fragments: FragmentPolicy::Drop, init_cookies: InitCookies::Off, ..config() };
        assert_eq!(config().policy(true), 0);
        let always = XdpConfig { init_cookies: InitCookies::Always, ..config() };
        assert_eq!(always.policy(true), policy::INIT_COOKIES | policy::ALWAYS_INIT_COOKIES);
        assert_eq!(always.policy(false), policy::INIT_COOKIES | policy::WORKERS_ANSWER);
        let switched = [
            XdpConfig { trusted_link: true, ..config() },
            XdpConfig { silent_out_of_the_blue: true, ..config() },
            XdpConfig { fragments: FragmentPolicy::Pass, ..config() },
            XdpConfig { answer_heartbeats: true, ..config() },
        ];
        let wanted = [policy::TRUSTED_LINK, policy::SILENT, policy::PASS_FRAGMENTS, policy::ANSWER_HEARTBEATS];
        assert_eq!(switched.map(|config| config.policy(true)), wanted);
        let by_workers = XdpConfig { answer_heartbeats: true, ..config() };
        assert_eq!(
            by_workers.policy(false),
            policy::WORKERS_ANSWER,
            "who cannot send answers does not answer HEARTBEATs either"
        );
    }

    #[test]
    fn too_few_frames_are_refused() {
        let config = XdpConfig { frames: Some(4000), ..config() };
        assert_eq!(config.frames_for(1).expect("enough for one queue"), 4000);
        assert!(config.frames_for(2).is_err());
    }

    #[test]
    fn checksum_policies_are_read_as_they_are_written() {
        let policies = [
            ("xdp", ChecksumPolicy::Xdp, u32::MAX),
            ("split", ChecksumPolicy::Split { limit: 256 }, 256),
            ("split=512", ChecksumPolicy::Split { limit: 512 }, 512),
            ("user", ChecksumPolicy::User, 0),
        ];
        for (text, policy, verify_up_to) in policies {
            assert_eq!(text.parse(), Ok(policy));
            assert_eq!(policy.to_string(), text);
            assert_eq!(policy.verify_up_to(), verify_up_to);
        }
        assert_eq!(ChecksumPolicy::default(), ChecksumPolicy::Xdp);
    }

    #[test]
    fn other_checksum_policies_are_refused_with_a_hint() {
        for (text, hint) in [("nic", "xdp, split or user"), ("split=", "split=512"), ("split=-1", "split=512")] {
            let error = text.parse::<ChecksumPolicy>().unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }
}
