//! The loaded program, and what one run of it did.

use std::cell::RefCell;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf, XskMap};
use aya::programs::{ProgramFd, ProgramInfo, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use sctp_common::cookie::CookieSettings;
use sctp_common::init::{Announced, Offer};
use sctp_common::limit::Rate;
use sctp_common::maps::{
    AddressKey, HeartbeatEntry, HeartbeatKey, PeerEntry, PeerKey, PortEntry, TagEntry, TagKey, globals, names,
};
use sctp_common::metadata::RxMetadata;
use sctp_common::near::{TagBucket, bucket_of, buckets_for};
use sctp_common::sample::{Sample, Sampling, Watch};
use sctp_common::siphash::HashKey;
use sctp_common::verdict::Verdict;
use sctp_ebpf_object::{OBJECT, PROGRAM};

use super::udp::UDP_PORT;

/// How the program is loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: u32,
    pub(crate) hash_key: HashKey,
    /// Bits of `sctp_common::maps::policy`.
    pub(crate) policy: u32,
    /// The longest SCTP packet whose checksum is verified before it is redirected.
    pub(crate) verify_up_to: u32,
    /// Our UDP encapsulation port; 0 for none.
    pub(crate) udp_port: u16,
    /// Rates of answers, for each CPU and for each source prefix.
    pub(crate) answers: [Rate; 2],
    /// Rate of INITs that are not answered, under load.
    pub(crate) inits: Rate,
    /// Rate of samples of dropped packets.
    pub(crate) samples: Rate,
    /// Entries of the map of tags.
    pub(crate) tags: u32,
    /// Most verbose level that is logged; 0 for none.
    pub(crate) log_level: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 1,
            hash_key: [0x0123_4567_89ab_cdef, 0x1122_3344_5566_7788],
            policy: 0,
            verify_up_to: u32::MAX,
            udp_port: UDP_PORT,
            answers: [UNLIMITED; 2],
            inits: Rate::INITS_PER_CPU,
            samples: UNLIMITED,
            tags: 64,
            log_level: 0,
        }
    }
}

/// A token takes no time to come.
const UNLIMITED: Rate = Rate { interval: 0, tolerance: 0 };

/// The XDP program in the kernel, attached to nothing.
pub(crate) struct Program {
    ebpf: Ebpf,
    counters: PerCpuArray<MapData, u64>,
    /// The sums of the counters after the last run.
    counted: RefCell<Vec<u64>>,
    hash_key: HashKey,
    /// How many buckets of tags there are.
    buckets: u32,
    /// AF_XDP sockets that were put into the map, which holds no reference of its own.
    sockets: Vec<OwnedFd>,
}

/// What became of a frame.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The verdict, by the one counter that went up.
    pub(crate) verdict: Verdict,
    /// What the program returned: `XDP_DROP`, `XDP_PASS`, `XDP_TX` or `XDP_REDIRECT`.
    pub(crate) action: u32,
    /// The bytes that the program left in front of the frame.
    pub(crate) metadata: Vec<u8>,
    /// The frame, which no verdict but an answer should change.
    pub(crate) frame: Vec<u8>,
}

impl Program {
    /// Loads the program.
    pub(crate) fn load(settings: Settings) -> Result<Self> {
        Self::load_object(OBJECT, settings)
    }

    /// Loads the program of another object.
    pub(crate) fn load_object(object: &[u8], settings: Settings) -> Result<Self> {
        let buckets = buckets_for(settings.tags);
        let mut loader = EbpfLoader::new();
        let mut ebpf = loader
            .override_global(globals::WORKERS, &settings.workers, true)
            .override_global(globals::HASH_KEY, &settings.hash_key, true)
            .override_global(globals::POLICY, &settings.policy, true)
            .override_global(globals::VERIFY_UP_TO, &settings.verify_up_to, true)
            .override_global(globals::UDP_PORT, &u32::from(settings.udp_port), true)
            .override_global(globals::ANSWERS_PER_CPU, &settings.answers[0].to_global(), true)
            .override_global(globals::ANSWERS_PER_PREFIX, &settings.answers[1].to_global(), true)
            .override_global(globals::INITS_PER_CPU, &settings.inits.to_global(), true)
            .override_global(globals::SAMPLES_PER_CPU, &settings.samples.to_global(), true)
            .override_global(globals::LOG_LEVEL, &settings.log_level, true)
            .override_global(globals::TAG_BUCKET_COUNT, &buckets, true)
            .map_max_entries(names::TAGS, settings.tags)
            .map_max_entries(names::TAG_BUCKETS, buckets)
            .load(object)
            .context("the object does not load")?;
        let program: &mut Xdp = ebpf.program_mut(PROGRAM).context("no such program")?.try_into()?;
        program.load().context("the verifier refuses the program")?;
        let counters = PerCpuArray::try_from(ebpf.take_map(names::COUNTERS).context("no counters")?)?;
        let counted = RefCell::new(sums(&counters)?);
        let hash_key = settings.hash_key;
        Ok(Self { ebpf, counters, counted, hash_key, buckets, sockets: Vec::new() })
    }

    pub(crate) fn own_port(&mut self, port: u16, listening: bool) -> Result<()> {
        let mut ports: Array<_, [u8; PortEntry::SIZE]> = Array::try_from(self.map(names::PORTS)?)?;
        Ok(ports.set(port.into(), PortEntry::owned(listening).to_bytes(), 0)?)
    }

    pub(crate) fn add_address(&mut self, address: [u8; 16]) -> Result<()> {
        let mut addresses: HashMap<_, [u8; AddressKey::SIZE], u32> = HashMap::try_from(self.map(names::ADDRESSES)?)?;
        Ok(addresses.insert(address, 0, 0)?)
    }

    pub(crate) fn remove_address(&mut self, address: [u8; 16]) -> Result<()> {
        let mut addresses: HashMap<_, [u8; AddressKey::SIZE], u32> = HashMap::try_from(self.map(names::ADDRESSES)?)?;
        addresses.remove(&address)?;
        let mut generation: Array<_, u32> = Array::try_from(self.map(names::ADDRESS_GENERATION)?)?;
        let next = generation.get(&0, 0)?.wrapping_add(1);
        Ok(generation.set(0, next, 0)?)
    }

    /// Adds a tag: to its bucket, or behind it if that is full.
    pub(crate) fn add_tag(&mut self, key: TagKey, entry: TagEntry) -> Result<()> {
        let index = bucket_of(&key, &self.hash_key, self.buckets);
        let mut buckets: Array<_, [u8; TagBucket::SIZE]> = Array::try_from(self.map(names::TAG_BUCKETS)?)?;
        let bucket = TagBucket::from_bytes(&buckets.get(&index, 0)?);
        if let Some(bucket) = bucket.with(&key, entry) {
            return Ok(buckets.set(index, bucket.to_bytes(), 0)?);
        }
        buckets.set(index, bucket.with_elsewhere(bucket.elsewhere + 1).to_bytes(), 0)?;
        self.add_tag_behind(key, entry)
    }

    fn add_tag_behind(&mut self, key: TagKey, entry: TagEntry) -> Result<()> {
        let mut tags: HashMap<_, [u8; TagKey::SIZE], [u8; TagEntry::SIZE]> = HashMap::try_from(self.map(names::TAGS)?)?;
        Ok(tags.insert(key.to_bytes(), entry.to_bytes(), 0)?)
    }

    pub(crate) fn check_cookies(&mut self, settings: &CookieSettings) -> Result<()> {
        let mut cookies: Array<_, [u8; CookieSettings::SIZE]> = Array::try_from(self.map(names::COOKIES)?)?;
        Ok(cookies.set(0, settings.to_bytes(), 0)?)
    }

    /// Lets INITs to `port` be answered with `offer`, and with these addresses of ours.
    pub(crate) fn offer(&mut self, port: u16, offer: Offer, announced: &Announced) -> Result<()> {
        let mut map: Array<_, [u8; Announced::SIZE]> = Array::try_from(self.map(names::ANNOUNCED)?)?;
        map.set(0, announced.to_bytes(), 0)?;
        let mut offers: Array<_, [u8; Offer::SIZE]> = Array::try_from(self.map(names::OFFERS)?)?;
        offers.set(3, offer.to_bytes(), 0)?;
        let mut ports: Array<_, [u8; PortEntry::SIZE]> = Array::try_from(self.map(names::PORTS)?)?;
        Ok(ports.set(port.into(), PortEntry::owned(true).with_offer(3).to_bytes(), 0)?)
    }

    pub(crate) fn add_peer(&mut self, key: PeerKey, entry: PeerEntry) -> Result<()> {
        let mut peers: HashMap<_, [u8; PeerKey::SIZE], [u8; PeerEntry::SIZE]> =
            HashMap::try_from(self.map(names::PEERS)?)?;
        Ok(peers.insert(key.to_bytes(), entry.to_bytes(), 0)?)
    }

    pub(crate) fn add_heartbeats(&mut self, key: HeartbeatKey, peer_tag: u32) -> Result<()> {
        let mut heartbeats: HashMap<_, [u8; HeartbeatKey::SIZE], [u8; HeartbeatEntry::SIZE]> =
            HashMap::try_from(self.map(names::HEARTBEATS)?)?;
        Ok(heartbeats.insert(key.to_bytes(), HeartbeatEntry::new(peer_tag).to_bytes(), 0)?)
    }

    /// How many HEARTBEATs have been answered.
    pub(crate) fn heartbeats(&self, key: HeartbeatKey) -> Result<u64> {
        let map = self.ebpf.map(names::HEARTBEATS).context("no such map")?;
        let heartbeats: HashMap<_, [u8; HeartbeatKey::SIZE], [u8; HeartbeatEntry::SIZE]> = HashMap::try_from(map)?;
        Ok(HeartbeatEntry::from_bytes(heartbeats.get(&key.to_bytes(), 0)?).answered)
    }

    /// Puts a socket at `index`. It is bound to nothing, which a test run, that never delivers, does not notice.
    pub(crate) fn add_socket(&mut self, index: u32) -> Result<()> {
        // SAFETY: plain system call; the result is checked before it is used.
        let descriptor = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        ensure!(descriptor >= 0, "socket(AF_XDP): {}", std::io::Error::last_os_error());
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let mut sockets = XskMap::try_from(self.map(names::XSKS)?)?;
        sockets.set(index, socket.as_raw_fd(), 0)?;
        self.sockets.push(socket);
        Ok(())
    }

    /// Says which drops are to be shown.
    pub(crate) fn watch(&mut self, watch: Watch) -> Result<()> {
        let mut map: Array<_, [u8; Watch::SIZE]> = Array::try_from(self.map(names::WATCH)?)?;
        Ok(map.set(0, watch.to_bytes(), 0)?)
    }

    /// The drops that have been shown since the last time.
    pub(crate) fn samples(&mut self) -> Result<Vec<Sample>> {
        let mut ring = RingBuf::try_from(self.map(names::DROPS)?)?;
        let mut samples = Vec::new();
        while let Some(bytes) = ring.next() {
            samples.push(Sample::from_bytes(&bytes).context("no sample")?);
        }
        Ok(samples)
    }

    /// How many have been left out, ever.
    pub(crate) fn left_out(&self) -> Result<u64> {
        let map = self.ebpf.map(names::SAMPLING).context("no such map")?;
        let map: PerCpuArray<_, [u8; Sampling::SIZE]> = PerCpuArray::try_from(map)?;
        Ok(map.get(&0, 0)?.iter().map(|bytes| Sampling::from_bytes(*bytes).left_out).sum())
    }

    /// How many log records there are since the last time.
    pub(crate) fn logged(&mut self) -> Result<usize> {
        let mut records = RingBuf::try_from(self.map("AYA_LOGS")?)?;
        let mut count = 0;
        while records.next().is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Runs the program once on `frame`.
    pub(crate) fn run(&self, frame: &[u8]) -> Result<Outcome> {
        self.run_with(frame, 0, &Context::default())
    }

    /// Runs the program once. The first `metadata` bytes of `input` are metadata that somebody has left there already.
    pub(crate) fn run_with(&self, input: &[u8], metadata: usize, context: &Context) -> Result<Outcome> {
        self.execute(input, metadata, context, || self.counted())
    }

    /// Runs the program once on `frame` and fails unless the counter of `expected` goes up. The others are not looked at
    /// then, which is much faster; [`total`](Self::total) tells whether others went up too.
    pub(crate) fn run_expecting(&self, frame: &[u8], expected: Verdict) -> Result<Outcome> {
        let outcome = self.execute(frame, 0, &Context::default(), || {
            let index = expected.index();
            let now: u64 = self.counters.get(&index, 0)?.iter().sum();
            let before = std::mem::replace(&mut self.counted.borrow_mut()[index as usize], now);
            if now == before + 1 { Ok(expected) } else { self.counted() }
        })?;
        ensure!(outcome.verdict == expected, "{:?} and not {expected:?}: {frame:02x?}", outcome.verdict);
        Ok(outcome)
    }

    /// How many packets have been counted.
    pub(crate) fn total(&self) -> Result<u64> {
        Ok(sums(&self.counters)?.iter().sum())
    }

    fn execute(
        &self,
        input: &[u8],
        metadata: usize,
        context: &Context,
        verdict: impl FnOnce() -> Result<Verdict>,
    ) -> Result<Outcome> {
        let mut output = vec![0; input.len() + 256];
        let context_in = context.to_bytes(metadata, input.len());
        let mut context_out = [0; Context::SIZE];
        let options = TestRunOptions {
            data_in: Some(input),
            data_out: Some(&mut output),
            ctx_in: Some(&context_in),
            ctx_out: Some(&mut context_out),
            ..TestRunOptions::default()
        };
        let result = self.xdp()?.test_run(options)?;
        output.truncate(result.data_size_out as usize);
        let frame_at = u32::from_ne_bytes(context_out[..4].try_into()?) as usize;
        let frame = output.split_off(frame_at);
        Ok(Outcome { verdict: verdict()?, action: result.return_value, metadata: output, frame })
    }

    /// What the kernel knows of the program.
    pub(crate) fn info(&self) -> Result<ProgramInfo> {
        Ok(self.xdp()?.info()?)
    }

    /// The program's descriptor.
    pub(crate) fn descriptor(&self) -> Result<&ProgramFd> {
        Ok(self.xdp()?.fd()?)
    }

    /// The verdict whose counter went up since the last time, by one, and no other did.
    pub(crate) fn counted(&self) -> Result<Verdict> {
        let now = sums(&self.counters)?;
        let before = self.counted.replace(now.clone());
        let mut changed = (0..).zip(now.iter().zip(&before)).filter(|(_, (now, before))| now != before);
        match (changed.next(), changed.next()) {
            (Some((index, (now, before))), None) if now - before == 1 => {
                Verdict::from_index(index).context("a counter without a verdict")
            }
            (first, second) => bail!("not exactly one counter went up by one: {first:?}, {second:?}"),
        }
    }

    fn xdp(&self) -> Result<&Xdp> {
        Ok(self.ebpf.program(PROGRAM).context("no such program")?.try_into()?)
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| format!("no map {name}"))
    }
}

impl Outcome {
    /// The metadata as userspace would read it: the 16 bytes before the frame.
    pub(crate) fn rx_metadata(&self) -> Option<RxMetadata> {
        RxMetadata::from_bytes(self.metadata.last_chunk()?)
    }
}

/// `struct xdp_md` as far as a test can choose it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Context {
    /// Interface that the frame seems to come from; 0 for none.
    pub(crate) interface: u32,
    /// Queue of that interface.
    pub(crate) queue: u32,
}

impl Context {
    const SIZE: usize = 24;

    fn to_bytes(self, data: usize, data_end: usize) -> [u8; Self::SIZE] {
        // data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let fields = [data as u32, data_end as u32, 0, self.interface, self.queue, 0];
        let mut bytes = [0; Self::SIZE];
        for (to, field) in bytes.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }
}

fn sums(counters: &PerCpuArray<MapData, u64>) -> Result<Vec<u64>> {
    (0..Verdict::COUNT).map(|index| Ok(counters.get(&index, 0)?.iter().sum())).collect()
}
