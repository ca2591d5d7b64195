//! Programs that stay attached when their process has ended, and that can be replaced while they run.
//!
//! By default a program goes with its process: the kernel detaches it when the last descriptor of its link is closed, also by a crash.
//! That is safe, but has two costs. Many drivers stop and restart all their queues when a program is attached or detached, which interrupts
//! everybody's traffic on the interface, not SCTP's alone; and a program with a fault can only be exchanged by ending every association.
//!
//! A program that is kept ([`XdpConfig::keep`](super::XdpConfig::keep)) hangs on its interface by a link that is pinned in a BPF file system,
//! with its maps beside it, in a directory for each network namespace and interface:
//!
//! ```text
//! /sys/fs/bpf/sctp/4026531840-2/link      holds the program on the interface
//!                               PORTS …   one file for each map
//!                               record    what the program was loaded with (a map of one element, in JSON)
//! ```
//!
//! * [`replace`] loads the program that this library was built with onto the same maps and swaps it in, atomically (`BPF_LINK_UPDATE`): no
//!   packet meets no program. The process that owns the stack need not know; its associations go on. It is refused where the maps
//!   mean something else to the new program.
//! * A new process takes a kept program over: it swaps in its own, with maps of its own. Of the old ones it keeps the counters, if they are of
//!   the same layout and size. The interface is not touched.
//! * [`remove`] detaches.
//!
//! **Associations end with their process all the same.** What they are (TSNs, windows, queues of unacknowledged data, timers) is in the memory
//! of the workers. To hand them over, the old process would have to stop its workers between two packets, write each association down, in
//! a format that both versions know, and give the new one the AF_XDP sockets and the memory of the frames (descriptors over a Unix socket);
//! the state would have to be current to the last packet sent, since a TSN that is used twice for different data corrupts the peer's stream. None of
//! that exists. So a process that starts does so with empty tables of tags and ports; peers that still send are answered as out of the
//! blue, with ABORT (RFC 9260 §8.4), once the process owns the port again, and set up anew.
//!
//! Between a crash and the next start, packets for the ports of the process that is gone are dropped, as `no-socket`, and not left to
//! the kernel, which would answer them; after an orderly end its ports are the kernel's again.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, MapInfo};
use aya::programs::ProgramError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::xdp::XdpLink as Link;
use aya_obj::{EbpfSectionKind, Object};
use rustix::net::{AddressFamily, SocketType};
use sctp_common::maps::names;
use sctp_common::verdict::Verdict;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::config::{AttachMode, XdpConfig};
use super::detach::detach;
use super::error::OpenError;
use super::program::{self, Attached, Settings, Target, already_attached};

/// Where programs are kept if nothing else is said.
pub const DEFAULT_DIRECTORY: &str = "/sys/fs/bpf/sctp";

/// A program that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptProgram {
    /// The interface that it is attached to.
    pub interface: String,
    /// The program's id.
    pub program: u32,
    /// The version of this library that it came with.
    pub version: String,
    /// Whether it runs in the driver.
    pub native: bool,
    /// Whether a stack runs with it.
    pub in_use: bool,
    /// Whether [`replace`] can replace it: its maps mean the same to the program that this library has.
    pub replaceable: bool,
}

/// The programs that are kept under `root` on interfaces of this network namespace.
///
/// # Errors
///
/// If the directory cannot be read, but for not being there.
pub fn list(root: &Path) -> io::Result<Vec<KeptProgram>> {
    let prefix = format!("{}-", namespace()?);
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(ifindex) = name.strip_prefix(&prefix).and_then(|ifindex| ifindex.parse::<u32>().ok()) else {
            continue;
        };
        let place = Place { directory: root.join(&name), interface: name_of(ifindex).unwrap_or_default() };
        let (Some(record), Ok(link)) = (place.record(), PinnedLink::from_pin(place.link())) else { continue };
        let Ok(program) = FdLink::from(link).info().map(|info| info.program_id()) else { continue };
        found.push(KeptProgram {
            interface: if place.interface.is_empty() { record.interface } else { place.interface.clone() },
            program,
            version: record.version,
            native: record.native,
            in_use: place.lock().is_ok_and(|lock| lock.is_none()),
            replaceable: record.layout == layout() && place.fit(&BTreeMap::new(), |_| true).unwrap_or(false),
        });
    }
    found.sort_by(|one, other| one.interface.cmp(&other.interface));
    Ok(found)
}

/// What [`replace`] has done: the ids of two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The one that was attached.
    pub before: u32,
    /// The one that is attached now.
    pub after: u32,
}

/// Replaces the program on `interface` by the one that this library was built with, with the same maps and settings.
///
/// It may be called beside the process whose stack runs with the program, and by another version of this library. No packet is lost by it.
///
/// # Errors
///
/// If no program is kept there, its maps are laid out otherwise, or the kernel refuses the new one; the old one stays then.
pub fn replace(root: &Path, interface: &str) -> Result<Replaced, OpenError> {
    let place = Place::of(root, interface)?;
    let nothing = || OpenError::NothingKept { interface: interface.to_owned(), directory: root.display().to_string() };
    let record = place.record().ok_or_else(nothing)?;
    let link = FdLink::from(PinnedLink::from_pin(place.link()).map_err(|_| nothing())?);
    let before = link.info().map_err(|error| place.failed("link", link_error(error)))?.program_id();
    if record.layout != layout() || !place.fit(&BTreeMap::new(), |_| true)? {
        return Err(OpenError::OtherLayout { interface: interface.to_owned(), version: record.version });
    }
    let settings = Settings { globals: record.globals.clone(), sizes: BTreeMap::new(), strict: false };
    let mut ebpf = program::load(&settings, &place.files(map_names()?))?;
    verify(&mut ebpf)?;
    let after = place.swap(&mut ebpf, link)?;
    place.write(&Record { version: VERSION.to_owned(), ..record })?;
    Ok(Replaced { before, after })
}

/// Detaches the program that is kept on `interface` and forgets its maps. False if there was none.
///
/// # Errors
///
/// If a stack runs with it, or its files cannot be removed.
pub fn remove(root: &Path, interface: &str) -> Result<bool, OpenError> {
    let place = Place::of(root, interface)?;
    if !place.directory.exists() {
        return Ok(false);
    }
    let in_use = || OpenError::InUse { interface: interface.to_owned() };
    let _lock = place.lock().map_err(|error| place.failed("", error))?.ok_or_else(in_use)?;
    let kept = place.link().exists();
    place.clear()?;
    fs::remove_dir(&place.directory).map_err(|error| place.failed("", error))?;
    Ok(kept)
}

/// Attaches a program that is to be kept, or takes over the one that is there.
pub(super) fn attach(
    root: &Path,
    target: Target<'_>,
    config: &XdpConfig,
    settings: &Settings,
) -> Result<Attached, OpenError> {
    let place = Place::make(root, target)?;
    let in_use = || OpenError::InUse { interface: target.name.to_owned() };
    let lock = place.lock().map_err(|error| place.failed("", error))?.ok_or_else(in_use)?;
    let mut lease = Lease { place, _lock: lock, keep: false };
    match lease.place.living(target)? {
        Some((_, record)) if config.attach == AttachMode::Native && !record.native => {
            lease.keep = true;
            Err(OpenError::NoNativeXdp { interface: target.name.to_owned() })
        }
        Some((link, record)) => {
            lease.keep = true;
            let native = record.native;
            let ebpf = lease.place.take_over(target, settings, link, record)?;
            Ok(Attached { ebpf, native, lease: Some(lease) })
        }
        None => {
            lease.place.clear()?;
            let place = &lease.place;
            let mut ebpf = program::load(settings, &[])?;
            let (native, link) = program::attach(&mut ebpf, target, config)?;
            let link = program::xdp(&mut ebpf)?.take_link(link).map_err(OpenError::Verify)?;
            let link = FdLink::try_from(link).map_err(|error| place.failed("link", link_error(error)))?;
            place.pin_maps(&ebpf, &[])?;
            place.write(&Record::new(target.name, native, settings))?;
            // Last, so that whoever finds it finds the others.
            link.pin(place.link()).map_err(|error| place.failed("link", io::Error::other(error)))?;
            Ok(Attached { ebpf, native, lease: Some(lease) })
        }
    }
}

/// The right to a place, for as long as a stack runs with the program that is kept there.
#[derive(Debug)]
pub(super) struct Lease {
    place: Place,
    /// Whoever holds it has the place.
    _lock: File,
    /// Whether the program stays when this goes.
    keep: bool,
}

impl Lease {
    /// The program stays from now on.
    pub(super) fn settle(&mut self) {
        self.keep = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.place.clear()
        {
            tracing::warn!(%error, "the XDP program stays attached");
        }
    }
}

/// What is known of a kept program besides what the kernel knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    /// The interface's name when it was attached.
    interface: String,
    /// The version of this library that the program came with.
    version: String,
    /// What its maps mean: [`layout`].
    layout: String,
    native: bool,
    /// What its globals were set to.
    globals: BTreeMap<String, Vec<u8>>,
}

impl Record {
    fn new(interface: &str, native: bool, settings: &Settings) -> Self {
        Self {
            interface: interface.to_owned(),
            version: VERSION.to_owned(),
            layout: layout(),
            native,
            globals: settings.globals.clone(),
        }
    }
}

/// The version of this library.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Bytes of a record at most.
const RECORD: usize = 4096;

/// A word for what the bytes in the maps and in front of frames mean. Their sizes are compared apart.
fn layout() -> String {
    let mut digest = Sha256::new();
    digest.update(sctp_common::maps::LAYOUT.to_be_bytes());
    digest.update(sctp_common::metadata::MAGIC.to_be_bytes());
    for verdict in Verdict::all() {
        digest.update(verdict.name());
        digest.update([0]);
    }
    digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The maps of the object that this library was built with, but for those that hold its globals.
fn maps() -> Result<Vec<(String, aya_obj::Map)>, OpenError> {
    let object = Object::parse(sctp_ebpf_object::OBJECT).map_err(|error| OpenError::Load(error.into()))?;
    let is_map = |map: &aya_obj::Map| matches!(map.section_kind(), EbpfSectionKind::Maps | EbpfSectionKind::BtfMaps);
    Ok(object.maps.into_iter().filter(|(_, map)| is_map(map)).collect())
}

/// Their names.
pub(super) fn map_names() -> Result<Vec<String>, OpenError> {
    Ok(maps()?.into_iter().map(|(name, _)| name).collect())
}

/// Where the program of an interface is kept, or would be.
#[derive(Clone, Debug)]
pub(super) struct Place {
    directory: PathBuf,
    interface: String,
}

impl Place {
    /// The place for an interface of this network namespace.
    fn of(root: &Path, interface: &str) -> Result<Self, OpenError> {
        let unknown = |_| OpenError::UnknownInterface { interface: interface.to_owned() };
        Self::at(root, interface, index_of(interface).map_err(unknown)?)
    }

    fn at(root: &Path, interface: &str, ifindex: u32) -> Result<Self, OpenError> {
        // Not by the interface's name: other namespaces have the same, and a BPF file system allows no dots.
        let namespace =
            namespace().map_err(|source| OpenError::System { what: "the network namespace cannot be told", source })?;
        Ok(Self { directory: root.join(format!("{namespace}-{ifindex}")), interface: interface.to_owned() })
    }

    /// The place for an interface; its directory is there.
    fn make(root: &Path, target: Target<'_>) -> Result<Self, OpenError> {
        let place = Self::at(root, target.name, target.ifindex)?;
        let no_bpffs = || OpenError::NotBpfFs { directory: root.display().to_string() };
        // In another file system directories could be made, but nothing be kept in them.
        let there = root.ancestors().find(|directory| directory.exists()).ok_or_else(no_bpffs)?;
        let kind = rustix::fs::statfs(there).map_err(|error| place.failed("", error.into()))?.f_type;
        if kind as u64 != BPF_FS_MAGIC {
            return Err(no_bpffs());
        }
        fs::create_dir_all(&place.directory).map_err(|error| place.failed("", error))?;
        Ok(place)
    }

    /// The file of a map.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn link(&self) -> PathBuf {
        self.directory.join(LINK_FILE)
    }

    fn failed(&self, file: &str, source: io::Error) -> OpenError {
        let path = self.directory.join(file).display().to_string();
        OpenError::Keep { interface: self.interface.clone(), path, source }
    }

    /// Takes the place, unless somebody has it.
    fn lock(&self) -> io::Result<Option<File>> {
        let directory = File::open(&self.directory)?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(directory)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The link of the program that is kept here and is attached, and what is known of it. `None` if no program is attached to the
    /// interface; what is here belonged to an interface that is gone, then.
    fn living(&self, target: Target<'_>) -> Result<Option<(FdLink, Record)>, OpenError> {
        let Some(id) = target.attached else { return Ok(None) };
        let stranger = || already_attached(target.name, target.ifindex, id);
        let link = FdLink::from(PinnedLink::from_pin(self.link()).map_err(|_| stranger())?);
        let info = link.info().map_err(|error| self.failed("link", link_error(error)))?;
        match self.record() {
            Some(record) if info.program_id() == id => Ok(Some((link, record))),
            _ => Err(stranger()),
        }
    }

    /// Loads a new program and swaps it in.
    fn take_over(&self, target: Target<'_>, settings: &Settings, link: FdLink, old: Record) -> Result<Ebpf, OpenError> {
        let record = Record::new(target.name, old.native, settings);
        let mut reused = Vec::new();
        if old.layout == record.layout && self.fit(&settings.sizes, |name| name == names::COUNTERS)? {
            reused.push(names::COUNTERS.to_owned());
        }
        let mut ebpf = program::load(settings, &self.files(reused.clone()))?;
        verify(&mut ebpf)?;
        // Without a record nobody takes the maps for those of the program, should this end half-way.
        self.remove_files(|name| name == RECORD_FILE)?;
        self.swap(&mut ebpf, link)?;
        self.remove_files(|name| name != LINK_FILE && !reused.iter().any(|kept| kept == name))?;
        self.pin_maps(&ebpf, &reused)?;
        self.write(&record)?;
        Ok(ebpf)
    }

    /// Puts the program into the place of the one that `link` holds on the interface. Returns its id.
    fn swap(&self, ebpf: &mut Ebpf, link: FdLink) -> Result<u32, OpenError> {
        let program = program::xdp(ebpf)?;
        let link = Link::try_from(link).map_err(|error| self.failed("link", link_error(error)))?;
        let attached = program.attach_to_link(link).map_err(|error| self.not_swapped(error))?;
        // The file holds it.
        drop(program.take_link(attached).map_err(|error| self.not_swapped(error))?);
        Ok(program.info().map_err(|error| self.not_swapped(error))?.id())
    }

    fn not_swapped(&self, source: ProgramError) -> OpenError {
        OpenError::Attach { interface: self.interface.clone(), source }
    }

    /// Whether the maps that are kept here, or those of them that are meant, are such as the object wants, in these sizes; in whatever sizes
    /// they have if there are none.
    fn fit(&self, sizes: &BTreeMap<&'static str, u32>, which: impl Fn(&str) -> bool) -> Result<bool, OpenError> {
        Ok(maps()?.iter().filter(|(name, _)| which(name)).all(|(name, wanted)| {
            let Ok(map) = MapInfo::from_pin(self.map(name)) else { return false };
            let shape = (map.key_size(), map.value_size(), map.map_flags());
            let entries = match sizes.get(name.as_str()) {
                Some(entries) => *entries == map.max_entries(),
                None => sizes.is_empty() || wanted.max_entries() == map.max_entries(),
            };
            map.map_type().is_ok_and(|kind| kind as u32 == wanted.map_type())
                && shape == (wanted.key_size(), wanted.value_size(), wanted.map_flags())
                && entries
        }))
    }

    /// The files of maps, and their names.
    fn files(&self, names: Vec<String>) -> Vec<(PathBuf, String)> {
        names.into_iter().map(|name| (self.map(&name), name)).collect()
    }

    /// Keeps the maps of the program, but for those that are kept already.
    fn pin_maps(&self, ebpf: &Ebpf, already: &[String]) -> Result<(), OpenError> {
        let names = map_names()?;
        let wanted = |name: &str| names.iter().any(|wanted| wanted == name) && !already.iter().any(|kept| kept == name);
        for (name, map) in ebpf.maps().filter(|(name, _)| wanted(name)) {
            map.pin(self.map(name)).map_err(|error| self.failed(name, io::Error::other(error)))?;
        }
        Ok(())
    }

    /// Detaches the program, if there is one, and removes everything.
    fn clear(&self) -> Result<(), OpenError> {
        if self.link().exists() {
            detach(&self.link()).map_err(|error| self.failed(LINK_FILE, error))?;
        }
        self.remove_files(|_| true)
    }

    fn remove_files(&self, which: impl Fn(&str) -> bool) -> Result<(), OpenError> {
        let remove = || {
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if which(&entry.file_name().to_string_lossy()) {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        remove().map_err(|error| self.failed("", error))
    }

    fn record(&self) -> Option<Record> {
        let map = Map::from_map_data(MapData::from_pin(self.map(RECORD_FILE)).ok()?).ok()?;
        let bytes = Array::<_, [u8; RECORD]>::try_from(&map).ok()?.get(&0, 0).ok()?;
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(RECORD);
        serde_json::from_slice(&bytes[..length]).ok()
    }

    fn write(&self, record: &Record) -> Result<(), OpenError> {
        let failed = |source: io::Error| self.failed(RECORD_FILE, source);
        let json = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
        let mut bytes = [0; RECORD];
        let room = bytes.get_mut(..json.len()).ok_or_else(|| failed(io::ErrorKind::FileTooLarge.into()))?;
        room.copy_from_slice(&json);
        let write = || -> Result<(), MapError> {
            if let Ok(data) = MapData::from_pin(self.map(RECORD_FILE)) {
                let mut map = Map::from_map_data(data)?;
                return Array::<_, [u8; RECORD]>::try_from(&mut map)?.set(0, bytes, 0);
            }
            let mut map = Array::<MapData, [u8; RECORD]>::create(1, 0)?;
            map.set(0, bytes, 0)?;
            map.pin(self.map(RECORD_FILE)).map_err(|error| MapError::PinError { name: None, error })
        };
        write().map_err(|error| failed(io::Error::other(error)))
    }
}

/// The file of the link.
const LINK_FILE: &str = "link";

/// The file of the record.
const RECORD_FILE: &str = "record";

/// `BPF_FS_MAGIC` of `linux/magic.h`.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Has the kernel verify the program.
fn verify(ebpf: &mut Ebpf) -> Result<(), OpenError> {
    program::xdp(ebpf)?.load().map_err(OpenError::Verify)
}

fn link_error(error: LinkError) -> io::Error {
    match error {
        LinkError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}

/// The number by which this thread's network namespace is known.
fn namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
}

fn index_of(interface: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(socket, interface)?)
}

fn name_of(ifindex: u32) -> io::Result<String> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::index_to_name(socket, ifindex)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_map_but_the_globals_is_kept() {
        let mut names = map_names().unwrap();
        names.sort();
        for name in [names::PORTS, names::TAGS, names::XSKS, names::COUNTERS] {
            assert!(names.iter().any(|found| found == name), "{names:?}");
        }
        // The kernel's file system for them allows no dots.
        assert!(names.iter().all(|name| !name.contains('.') && name != LINK_FILE && name != RECORD_FILE), "{names:?}");
    }

    #[test]
    fn a_record_has_room() {
        let globals = (0..32).map(|number| (format!("A_GLOBAL_{number:02}"), vec![0xff; 16])).collect();
        let settings = Settings { globals, sizes: BTreeMap::new(), strict: true };
        let json = serde_json::to_vec(&Record::new("an-interface-15", true, &settings)).unwrap();
        assert!(json.len() < RECORD, "{}", json.len());
        let back: Record = serde_json::from_slice(&json).unwrap();
        assert_eq!((back.globals, back.layout), (settings.globals, layout()));
    }

    #[test]
    fn only_a_bpf_file_system_keeps_programs() {
        let directory = tempfile::tempdir().unwrap();
        let target = Target { name: "lo", ifindex: 1, mtu: 1500, queues: 1, attached: None, sends_answers: true };
        let error = Place::make(&directory.path().join("sctp"), target).unwrap_err().to_string();
        assert!(error.contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
        assert!(!directory.path().join("sctp").exists(), "nothing was made");
    }
}
