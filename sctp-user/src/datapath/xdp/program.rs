//! The XDP program: loading it, setting its globals, attaching it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::links::{LinkInfo, LinkType};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, ProgramInfo, Xdp, XdpMode, loaded_links, loaded_programs};
use aya::{Ebpf, EbpfLoader};
use sctp_common::cookie::CookieSettings;
use sctp_common::init::{Announced, Offer};
use sctp_common::limit::Rate;
use sctp_common::maps::{
    AddressKey, HeartbeatEntry, HeartbeatKey, PeerEntry, PeerKey, PortEntry, TagEntry, TagKey, counter_index, counters,
    globals, names, socket_index,
};
use sctp_common::near::buckets_for;
use sctp_common::verdict::Verdict;

use super::super::socket::Socket;
use super::config::{AttachMode, XdpConfig};
use super::drops::DropSource;
use super::error::OpenError;
use super::kept::{self, Lease};
use super::log::{self, ProgramLog};
use super::tags::Tags;

/// A program that is attached to one interface, with its maps.
///
/// Every interface has a program of its own: a packet can only be redirected to sockets of the interface it
/// came by, so the map of sockets is another one for each. Dropping this detaches the program.
pub(super) struct Program {
    ports: Array<MapData, [u8; PortEntry::SIZE]>,
    tags: Tags,
    peers: HashMap<MapData, [u8; PeerKey::SIZE], [u8; PeerEntry::SIZE]>,
    heartbeats: HashMap<MapData, [u8; HeartbeatKey::SIZE], [u8; HeartbeatEntry::SIZE]>,
    addresses: HashMap<MapData, [u8; AddressKey::SIZE], u32>,
    address_generation: Array<MapData, u32>,
    cookies: Array<MapData, [u8; CookieSettings::SIZE]>,
    offers: Array<MapData, [u8; Offer::SIZE]>,
    announced: Array<MapData, [u8; Announced::SIZE]>,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
    /// Holds the program and, unless it is kept, its attachment.
    _ebpf: Ebpf,
    /// Where the program is kept, if it is.
    lease: Option<Lease>,
    native: bool,
    workers: u32,
    /// How many queues have counters of their own.
    queues: u32,
    /// What it logs, until somebody takes it to read it.
    log: Option<ProgramLog>,
    /// What it shows of its drops, likewise.
    drops: Option<DropSource>,
}

/// The interface to attach to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) ifindex: u32,
    pub(super) mtu: u32,
    /// How many of its queues are used.
    pub(super) queues: u32,
    /// The program that is attached to it already.
    pub(super) attached: Option<u32>,
    /// Whether its driver sends what the program answers.
    pub(super) sends_answers: bool,
}

impl Program {
    /// Loads the program and attaches it.
    pub(super) fn attach(target: Target<'_>, config: &XdpConfig) -> Result<Self, OpenError> {
        let settings = Settings::of(target, config);
        let workers = u32::from(config.steering.workers);
        let Attached { mut ebpf, native, lease } = match &config.keep {
            Some(root) => kept::attach(root, target, config, &settings)?,
            None => {
                if let Some(id) = target.attached {
                    return Err(already_attached(target.name, target.ifindex, id));
                }
                let mut ebpf = load(&settings, &[])?;
                let (native, _) = attach(&mut ebpf, target, config)?;
                Attached { ebpf, native, lease: None }
            }
        };
        let log = log::of(&mut ebpf);
        let drops = DropSource {
            watch: map(&mut ebpf, names::WATCH)?,
            ring: map(&mut ebpf, names::DROPS)?,
            sampling: map(&mut ebpf, names::SAMPLING)?,
        };
        Ok(Self {
            ports: map(&mut ebpf, names::PORTS)?,
            tags: Tags::new(map(&mut ebpf, names::TAG_BUCKETS)?, map(&mut ebpf, names::TAGS)?, config.steering.key),
            peers: map(&mut ebpf, names::PEERS)?,
            heartbeats: map(&mut ebpf, names::HEARTBEATS)?,
            addresses: map(&mut ebpf, names::ADDRESSES)?,
            address_generation: map(&mut ebpf, names::ADDRESS_GENERATION)?,
            cookies: map(&mut ebpf, names::COOKIES)?,
            offers: map(&mut ebpf, names::OFFERS)?,
            announced: map(&mut ebpf, names::ANNOUNCED)?,
            sockets: map(&mut ebpf, names::XSKS)?,
            counters: map(&mut ebpf, names::COUNTERS)?,
            _ebpf: ebpf,
            lease,
            native,
            workers,
            queues: target.queues,
            log,
            drops: Some(drops),
        })
    }

    /// Whether the program runs in the driver.
    pub(super) fn is_native(&self) -> bool {
        self.native
    }

    /// All has been opened: from now on a program that is kept stays when this is dropped.
    pub(super) fn settle(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.settle();
        }
    }

    /// The program's log; it can be taken once.
    pub(super) fn take_log(&mut self) -> Option<ProgramLog> {
        self.log.take()
    }

    /// What the program shows of its drops; it can be taken once.
    pub(super) fn take_drops(&mut self) -> Option<DropSource> {
        self.drops.take()
    }

    /// Lets the program redirect packets of `worker` that come by `queue` to `socket`.
    pub(super) fn set_socket(&mut self, queue: u32, worker: u16, socket: &Socket) -> Result<(), MapError> {
        use std::os::fd::{AsFd, AsRawFd};
        let index = socket_index(queue, worker, self.workers);
        self.sockets.set(index, socket.as_fd().as_raw_fd(), 0)
    }

    pub(super) fn set_port(&mut self, port: u16, entry: PortEntry) -> Result<(), MapError> {
        self.ports.set(u32::from(port), entry.to_bytes(), 0)
    }

    pub(super) fn port(&self, port: u16) -> PortEntry {
        self.ports.get(&u32::from(port), 0).map(PortEntry::from_bytes).unwrap_or_default()
    }

    pub(super) fn set_tag(&mut self, key: TagKey, entry: TagEntry) -> Result<(), MapError> {
        self.tags.set(key, entry)
    }

    pub(super) fn tag(&self, key: TagKey) -> Option<TagEntry> {
        self.tags.get(key)
    }

    pub(super) fn remove_tag(&mut self, key: TagKey) -> Result<(), MapError> {
        self.tags.remove(key)
    }

    pub(super) fn set_peer(&mut self, key: PeerKey, entry: PeerEntry) -> Result<(), MapError> {
        self.peers.insert(key.to_bytes(), entry.to_bytes(), 0)
    }

    pub(super) fn peer(&self, key: PeerKey) -> Option<PeerEntry> {
        self.peers.get(&key.to_bytes(), 0).ok().map(PeerEntry::from_bytes)
    }

    pub(super) fn remove_peer(&mut self, key: PeerKey) -> Result<(), MapError> {
        unless_missing(self.peers.remove(&key.to_bytes()))
    }

    pub(super) fn add_heartbeats(&mut self, key: HeartbeatKey, peer_tag: u32) -> Result<(), MapError> {
        self.heartbeats.insert(key.to_bytes(), HeartbeatEntry::new(peer_tag).to_bytes(), 0)
    }

    /// How many HEARTBEATs have been answered; 0 if none are to be.
    pub(super) fn heartbeats_answered(&self, key: HeartbeatKey) -> u64 {
        self.heartbeats.get(&key.to_bytes(), 0).map_or(0, |entry| HeartbeatEntry::from_bytes(entry).answered)
    }

    pub(super) fn remove_heartbeats(&mut self, key: HeartbeatKey) -> Result<(), MapError> {
        unless_missing(self.heartbeats.remove(&key.to_bytes()))
    }

    pub(super) fn add_address(&mut self, address: IpAddr) -> Result<(), MapError> {
        self.addresses.insert(AddressKey::new(address).to_bytes(), 0, 0)
    }

    pub(super) fn remove_address(&mut self, address: IpAddr) -> Result<(), MapError> {
        unless_missing(self.addresses.remove(&AddressKey::new(address).to_bytes()))?;
        // What CPUs remember of it.
        let generation = self.address_generation.get(&0, 0)?;
        self.address_generation.set(0, generation.wrapping_add(1), 0)
    }

    /// What INIT ACKs say of listeners with the offer at this place of the map.
    pub(super) fn set_offer(&mut self, place: u16, offer: Offer) -> Result<(), MapError> {
        self.offers.set(u32::from(place), offer.to_bytes(), 0)
    }

    /// Which addresses INIT ACKs list from now on.
    pub(super) fn set_announced(&mut self, announced: &Announced) -> Result<(), MapError> {
        self.announced.set(0, announced.to_bytes(), 0)
    }

    /// How State Cookies are made and checked from now on.
    pub(super) fn check_cookies(&mut self, settings: &CookieSettings) -> Result<(), MapError> {
        self.cookies.set(0, settings.to_bytes(), 0)
    }

    /// How often each verdict was given over all CPUs, for each queue in turn, and at the end for those that are not used.
    pub(super) fn counters(&self) -> Result<Vec<Vec<(Verdict, u64)>>, MapError> {
        (0..=self.queues)
            .map(|queue| {
                Verdict::all()
                    .map(|verdict| {
                        let per_cpu = self.counters.get(&counter_index(queue, self.queues, verdict.index()), 0)?;
                        Ok((verdict, per_cpu.iter().sum()))
                    })
                    .collect()
            })
            .collect()
    }
}

/// That a key is not there any more is all that was wanted.
fn unless_missing(outcome: Result<(), MapError>) -> Result<(), MapError> {
    match outcome {
        Err(error) if is_missing(&error) => Ok(()),
        outcome => outcome,
    }
}

/// Whether it is for want of the key that it could not be removed.
pub(super) fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => error.io_error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Verification tags that a program can know unless another number is set: those of 32 Ki associations.
const DEFAULT_TAGS: u32 = 1 << 16;

/// What a program is loaded with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The values of its globals, by name.
    pub(super) globals: BTreeMap<String, Vec<u8>>,
    /// Entries of the maps that are not as large as the program was built with.
    pub(super) sizes: BTreeMap<&'static str, u32>,
    /// Whether the program must have all these globals, as one that was built with this library has.
    pub(super) strict: bool,
}

impl Settings {
    fn of(target: Target<'_>, config: &XdpConfig) -> Self {
        let workers = u32::from(config.steering.workers);
        let tags = config.tags.unwrap_or(DEFAULT_TAGS);
        let buckets = buckets_for(tags);
        let inits = config.init_threshold;
        let udp_port = config.udp_port.map_or(0, |port| u32::from(port.get()));
        let globals = [
            (globals::TAG_BUCKET_COUNT, buckets.to_ne_bytes().to_vec()),
            (globals::WORKERS, workers.to_ne_bytes().to_vec()),
            (globals::HASH_KEY, config.steering.key.map(u64::to_ne_bytes).concat()),
            (globals::POLICY, config.policy(target.sends_answers).to_ne_bytes().to_vec()),
            (globals::QUEUES, target.queues.to_ne_bytes().to_vec()),
            (globals::VERIFY_UP_TO, config.checksum.verify_up_to().to_ne_bytes().to_vec()),
            (globals::UDP_PORT, udp_port.to_ne_bytes().to_vec()),
            (globals::INITS_PER_CPU, Rate::per_second(inits).to_global().map(u64::to_ne_bytes).concat()),
        ];
        let mut sizes = BTreeMap::from([
            (names::XSKS, target.queues * workers),
            (names::TAG_BUCKETS, buckets),
            (names::COUNTERS, counters(target.queues)),
        ]);
        sizes.extend([names::TAGS, names::PEERS, names::HEARTBEATS].map(|name| (name, tags)));
        Self { globals: globals.map(|(name, value)| (name.to_owned(), value)).into(), sizes, strict: true }
    }
}

/// Loads the object: makes the maps, but for those that are in a BPF file system already, of which it gets the files and the names. The
/// verifier has its turn later.
pub(super) fn load(settings: &Settings, kept: &[(PathBuf, String)]) -> Result<Ebpf, OpenError> {
    let mut loader = EbpfLoader::new();
    for (name, value) in &settings.globals {
        loader.override_global(name, value.as_slice(), settings.strict);
    }
    for (name, entries) in &settings.sizes {
        loader.map_max_entries(name, *entries);
    }
    for (path, name) in kept {
        loader.map_pin_path(name, path.as_path());
    }
    loader.load(sctp_ebpf_object::OBJECT).map_err(OpenError::Load)
}

/// The program of a loaded object.
pub(super) fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, OpenError> {
    const PROGRAM: &str = sctp_ebpf_object::PROGRAM;
    let program = ebpf.program_mut(PROGRAM).ok_or(OpenError::ObjectMismatch { name: PROGRAM })?;
    program.try_into().map_err(|_| OpenError::ObjectMismatch { name: PROGRAM })
}

/// A program that is attached.
pub(super) struct Attached {
    pub(super) ebpf: Ebpf,
    /// Whether it runs in the driver.
    pub(super) native: bool,
    /// Where it is kept, if it is.
    pub(super) lease: Option<Lease>,
}

/// Attaches the program by a `bpf_link`, which detaches it when whoever holds it ends, however it ends. True if it runs
/// in the driver now.
pub(super) fn attach(ebpf: &mut Ebpf, target: Target<'_>, config: &XdpConfig) -> Result<(bool, XdpLinkId), OpenError> {
    let program = xdp(ebpf)?;
    program.load().map_err(OpenError::Verify)?;
    let mut attach =
        |mode| program.attach_to_if_index(target.ifindex, mode).map_err(|error| attach_error(target, error));
    match config.attach {
        AttachMode::Generic => Ok((false, attach(XdpMode::Skb)?)),
        AttachMode::Native => Ok((true, attach(XdpMode::Driver)?)),
        AttachMode::NativeOrGeneric => match attach(XdpMode::Driver) {
            Ok(link) => Ok((true, link)),
            Err(OpenError::NoNativeXdp { interface }) => {
                tracing::warn!(interface, "no native XDP: using generic mode, which is slower");
                Ok((false, attach(XdpMode::Skb)?))
            }
            Err(error) => Err(error),
        },
    }
}

fn attach_error(target: Target<'_>, error: ProgramError) -> OpenError {
    let interface = target.name.to_owned();
    match os_error(&error) {
        // Somebody was quicker than us.
        Some(libc::EBUSY | libc::EEXIST) => match target.attached {
            Some(id) => already_attached(target.name, target.ifindex, id),
            None => OpenError::Overtaken { interface },
        },
        Some(libc::EOPNOTSUPP) => OpenError::NoNativeXdp { interface },
        // What drivers say when a packet would not fit into a page, which is what native XDP works on.
        Some(libc::ERANGE | libc::EINVAL | libc::EMSGSIZE) if target.mtu > NATIVE_MTU => {
            OpenError::MtuTooLarge { interface, mtu: target.mtu, limit: NATIVE_MTU }
        }
        _ => OpenError::Attach { interface, source: error },
    }
}

fn os_error(error: &ProgramError) -> Option<i32> {
    // The system's error is somewhere down the chain of causes.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}

/// Who has the interface, and how to get it back.
pub(super) fn already_attached(interface: &str, ifindex: u32, id: u32) -> OpenError {
    let interface = interface.to_owned();
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "(without a name)".to_owned());
    if program == DISPATCHER {
        return OpenError::Dispatcher { programs: dispatched(ifindex, id), interface, id };
    }
    let is_ours = |link: &LinkInfo| link.program_id() == id && link.link_type().is_ok_and(|kind| kind == LinkType::Xdp);
    let link = loaded_links().filter_map(Result::ok).find(is_ours).map(|link| link.id());
    let remedy = match link {
        _ if program == sctp_ebpf_object::PROGRAM => format!(
            "a stack runs on it (`sctp stats -i {interface}`), or has left it there (`sctp xdp detach -i {interface}`)"
        ),
        Some(link) => {
            format!("stop the process that holds its link, or remove it with `bpftool link detach id {link}`")
        }
        None => format!("stop whoever attached it, or remove it with `ip link set dev {interface} xdp off`"),
    };
    OpenError::AlreadyAttached { interface, program, id, remedy }
}

/// The name of the program by which libxdp runs several programs on one interface.
const DISPATCHER: &str = "xdp_dispatcher";

/// The programs that a libxdp dispatcher runs, by name, as far as it keeps them where it does by default.
fn dispatched(ifindex: u32, id: u32) -> String {
    let place = format!("/sys/fs/bpf/xdp/dispatch-{ifindex}-{id}");
    let names: Vec<String> = (0..10)
        .map_while(|slot| ProgramInfo::from_pin(format!("{place}/prog{slot}-prog")).ok())
        .map(|program| program.name_as_str().unwrap_or("(without a name)").to_owned())
        .collect();
    if names.is_empty() { "(unknown)".to_owned() } else { names.join(", ") }
}

fn map<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, OpenError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(OpenError::ObjectMismatch { name })?;
    M::try_from(map).map_err(|source| OpenError::Map { name, source })
}

/// The largest MTU that every driver with native XDP takes for programs that handle one buffer per packet: a
/// page less headroom, tail room and headers.
const NATIVE_MTU: u32 = 3498;
