//! Why interfaces cannot be opened, each in one sentence that says what to do.

use std::io;

use aya::EbpfError;
use aya::programs::ProgramError;
use thiserror::Error;

/// Why [`XdpInterfaces::open`](super::XdpInterfaces::open) failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is nothing to open.
    #[error("no interface was named: name at least one")]
    NoInterface,
    /// A setting makes no sense.
    #[error("{setting} is {value}: it must be {wanted}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What it was set to.
        value: u64,
        /// What it may be.
        wanted: &'static str,
    },
    /// An interface was named twice.
    #[error("interface {interface} was named twice: name it once")]
    NamedTwice {
        /// Its name.
        interface: String,
    },
    /// There is no interface of that name.
    #[error("interface {interface} does not exist: `ip link` shows those of this network namespace")]
    UnknownInterface {
        /// The name.
        interface: String,
    },
    /// The interface has no Ethernet headers.
    #[error("interface {interface} is no Ethernet interface: name one that is")]
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// The process lacks a capability.
    #[error(
        "{capability} is missing, which is needed to {purpose}: run with sudo, or give the program its \
         capabilities with `setcap cap_net_admin,cap_net_raw,cap_bpf,cap_perfmon,cap_ipc_lock=ep`"
    )]
    MissingCapability {
        /// Its name.
        capability: &'static str,
        /// What it is needed for.
        purpose: &'static str,
    },
    /// The kernel knows no AF_XDP sockets.
    #[error("this kernel has no AF_XDP sockets: use Linux 5.10 or later, built with CONFIG_XDP_SOCKETS")]
    NoAfXdp,
    /// The UDP encapsulation port cannot be had.
    #[error(
        "UDP port {port} cannot be taken for SCTP in UDP ({source}): stop the program that has it (`ss -lunp` shows it), or choose another port"
    )]
    UdpPort {
        /// The port.
        port: u16,
        /// What the kernel says.
        source: io::Error,
    },
    /// Another socket has the queue.
    #[error("queue {queue} of {interface} is busy: another program's AF_XDP socket is bound to it; stop that program")]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The interface has fewer queues.
    #[error(
        "{interface} has {available} queues, not {wanted}: ask for fewer, or set them with `ethtool -L {interface}`"
    )]
    TooFewQueues {
        /// The interface.
        interface: String,
        /// How many were asked for.
        wanted: u32,
        /// How many there are.
        available: u32,
    },
    /// The interface has an XDP program already.
    #[error("XDP is already attached to {interface} by program {program} (id {id}): {remedy}")]
    AlreadyAttached {
        /// The interface.
        interface: String,
        /// The program's name.
        program: String,
        /// The program's id.
        id: u32,
        /// How to get rid of it.
        remedy: String,
    },
    /// Somebody attached an XDP program while this was doing so.
    #[error("another XDP program was attached to {interface} at the same time: see `ip link show dev {interface}`")]
    Overtaken {
        /// The interface.
        interface: String,
    },
    /// The interface has several XDP programs already, by libxdp.
    #[error(
        "libxdp runs XDP programs on {interface} by its dispatcher (id {id}): {programs}. This stack cannot join them: \
         see `xdp-loader status {interface}`, and remove them with `xdp-loader unload {interface} --all`"
    )]
    Dispatcher {
        /// The interface.
        interface: String,
        /// The dispatcher's program id.
        id: u32,
        /// Names of the programs.
        programs: String,
    },
    /// Programs cannot be kept in that directory.
    #[error(
        "no program can be kept under {directory}, which is not in a BPF file system: `mount -t bpf bpf /sys/fs/bpf` makes one, as root"
    )]
    NotBpfFs {
        /// The directory.
        directory: String,
    },
    /// A stack runs with the program that is kept.
    #[error("another stack runs on {interface}: stop it first (`sctp stats -i {interface}` shows it)")]
    InUse {
        /// The interface.
        interface: String,
    },
    /// There is no program to replace.
    #[error("no program of this stack is kept on {interface} under {directory}: start the stack with --keep-program")]
    NothingKept {
        /// The interface.
        interface: String,
        /// The directory.
        directory: String,
    },
    /// The program that is kept was made by a version whose maps mean something else.
    #[error(
        "the program on {interface} is of version {version}, whose maps are laid out otherwise: restart the stack to replace it"
    )]
    OtherLayout {
        /// The interface.
        interface: String,
        /// Which version of this library loaded it.
        version: String,
    },
    /// Something in the BPF file system could not be read or written.
    #[error("the program of {interface} cannot be kept in {path}: {source}")]
    Keep {
        /// The interface.
        interface: String,
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The driver has no native XDP.
    #[error(
        "the driver of {interface} has no native XDP: allow generic mode, which is slower, or use another interface"
    )]
    NoNativeXdp {
        /// The interface.
        interface: String,
    },
    /// The driver cannot do XDP with packets of that size.
    #[error(
        "the driver of {interface} cannot do XDP with an MTU of {mtu}: set it to {limit} or less with `ip link set dev {interface} mtu {limit}` (on both ends of a veth)"
    )]
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// Its MTU in bytes.
        mtu: u32,
        /// An MTU in bytes that fits into a frame.
        limit: u32,
    },
    /// The driver refused the program.
    #[error("the XDP program cannot be attached to {interface}: {source}")]
    Attach {
        /// The interface.
        interface: String,
        /// What the kernel said.
        #[source]
        source: ProgramError,
    },
    /// The kernel refused the program.
    #[error("the XDP program cannot be loaded: {0}")]
    Load(#[source] EbpfError),
    /// The kernel refused the program.
    #[error("the XDP program cannot be loaded: {0}")]
    Verify(#[source] ProgramError),
    /// The program that was built in is not the one that belongs to this library.
    #[error("the XDP object lacks {name}: build the project anew")]
    ObjectMismatch {
        /// What was not found in it.
        name: &'static str,
    },
    /// A map of the program could not be used.
    #[error("the map {name} of the XDP program cannot be used: {source}")]
    Map {
        /// The map.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: aya::maps::MapError,
    },
    /// The limit for locked memory is too low.
    #[error(
        "{needed} KiB of memory must be locked, but the limit is {limit} KiB: run with sudo, give the program \
         CAP_IPC_LOCK, or raise the limit with `ulimit -l`"
    )]
    LockedMemory {
        /// What is needed.
        needed: u64,
        /// What is allowed.
        limit: u64,
    },
    /// There is not enough memory for the frames.
    #[error("no memory for {frames} frames of {frame_size} bytes: {source}; ask for fewer frames")]
    Memory {
        /// How many were wanted.
        frames: u32,
        /// Their size.
        frame_size: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Zero-copy was demanded, and the driver has none.
    #[error("the driver of {interface} has no zero-copy mode: allow copy mode")]
    NoZeroCopy {
        /// The interface.
        interface: String,
    },
    /// A socket could not be made for another reason.
    #[error("no AF_XDP socket for queue {queue} of {interface}: {reason}")]
    Socket {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// What failed and what the kernel said.
        reason: String,
    },
    /// The kernel's links, addresses and routes could not be read.
    #[error("the network's state cannot be read by netlink: {0}")]
    Network(#[source] io::Error),
    /// The kernel refused something that never fails.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
