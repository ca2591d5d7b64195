//! How a stack is built.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;

use sctp_common::steering::Steering;
use sctp_core::{EndpointConfig, OutOfTheBluePolicy};

use super::error::BuildError;
use super::interfaces;
use super::stack::{Parts, PendingWorker, Stack, random, start};
use crate::datapath::Link;
use crate::datapath::capture::CaptureSink;
use crate::datapath::xdp::{ChecksumPolicy, FragmentPolicy, InitCookies};
use crate::stack::ports::NoControl;

/// Builds a [`Stack`].
///
/// It runs either on network interfaces, by XDP and AF_XDP, or on [links](Link) that the program
/// brings, such as those of the network in memory.
#[derive(Debug, Default)]
#[must_use]
pub struct StackBuilder {
    pub(super) interfaces: Vec<String>,
    pub(super) workers: Option<usize>,
    pub(super) queues: Option<usize>,
    pub(super) trusted_link: bool,
    pub(super) checksum: ChecksumPolicy,
    pub(super) keep_programs: Option<PathBuf>,
    pub(super) capture: Option<CaptureSink>,
    addresses: Vec<IpAddr>,
    links: Vec<PendingWorker>,
    max_associations: Option<usize>,
    pub(super) silent: bool,
    pub(super) fragments: FragmentPolicy,
    pub(super) xdp_heartbeats: bool,
    pub(super) init_cookies: InitCookies,
    pub(super) init_threshold: Option<u32>,
    pub(super) udp_port: Option<NonZeroU16>,
    steering_key: Option<[u64; 2]>,
}

impl StackBuilder {
    /// Runs on a network interface; may be called again for more.
    pub fn interface(mut self, name: impl Into<String>) -> StackBuilder {
        self.interfaces.push(name.into());
        self
    }

    /// How many workers to run on the interfaces: threads, each with associations of its own.
    /// Default: as many as there are queues, but not more than cores. On links of the program's own there is
    /// one for each link.
    pub fn workers(mut self, count: usize) -> StackBuilder {
        self.workers = Some(count);
        self
    }

    /// How many queues of each interface to use. Default: all.
    pub fn queues(mut self, count: usize) -> StackBuilder {
        self.queues = Some(count);
        self
    }

    /// One of our addresses; may be called again for more. Default: all that the interfaces have,
    /// also when they change; on links of the program's own, whatever packets are sent to.
    pub fn local_address(mut self, address: IpAddr) -> StackBuilder {
        self.addresses.push(address);
        self
    }

    /// Accepts packets without a checksum (zero) on the interfaces: for links within one machine,
    /// whose sender leaves the checksum to hardware that is not there.
    pub fn trusted_link(mut self, trusted: bool) -> StackBuilder {
        self.trusted_link = trusted;
        self
    }

    /// Who verifies the checksums of packets that come in on the interfaces. Default: the XDP program.
    pub fn checksum(mut self, policy: ChecksumPolicy) -> StackBuilder {
        self.checksum = policy;
        self
    }

    /// What becomes of packets for us that come in IP fragments. Default: the kernel puts them together, and we take them.
    pub fn fragments(mut self, policy: FragmentPolicy) -> StackBuilder {
        self.fragments = policy;
        self
    }

    /// Has the XDP program answer the HEARTBEATs that peers send, so that idle associations wake no worker. Default: the workers do.
    pub fn xdp_heartbeats(mut self, answer: bool) -> StackBuilder {
        self.xdp_heartbeats = answer;
        self
    }

    /// Whether the XDP program answers INITs with State Cookies, so that floods of them cost the workers nothing. Default: under load.
    pub fn init_cookies(mut self, when: InitCookies) -> StackBuilder {
        self.init_cookies = when;
        self
    }

    /// How many INITs a second go to workers from each CPU before that counts as load. Default: 10 000.
    pub fn init_threshold(mut self, per_second: u32) -> StackBuilder {
        self.init_threshold = Some(per_second);
        self
    }

    /// Keeps the XDP programs in a directory of a BPF file system, so that they stay attached when this process has ended, and can be
    /// replaced meanwhile ([`kept`](crate::datapath::xdp::kept)). Default: they go with the process.
    pub fn keep_programs(mut self, directory: impl Into<PathBuf>) -> StackBuilder {
        self.keep_programs = Some(directory.into());
        self
    }

    /// Takes SCTP that comes to this UDP port, and sends what goes in UDP from it (RFC 6951); 9899 is the one that is registered. It is for
    /// the interfaces: links of the program's own have no UDP. Default: none, and the kernel keeps all UDP.
    pub fn udp_port(mut self, port: NonZeroU16) -> StackBuilder {
        self.udp_port = Some(port);
        self
    }

    /// Records every frame on the interfaces.
    pub fn capture(mut self, sink: CaptureSink) -> StackBuilder {
        self.capture = Some(sink);
        self
    }

    /// How many associations each worker may have at a time. Default: one million.
    pub fn max_associations(mut self, count: usize) -> StackBuilder {
        self.max_associations = Some(count);
        self
    }

    /// Does not answer packets that belong to no association (RFC 9260 §8.4), because another stack
    /// may own them.
    pub fn silent_out_of_the_blue(mut self, silent: bool) -> StackBuilder {
        self.silent = silent;
        self
    }

    /// Runs on a link that the program brings; each gets a worker of its own. A packet may come in
    /// by any of them, and leaves by that of the worker that owns its association.
    pub fn link<L: Link + Send + 'static>(mut self, link: L) -> StackBuilder {
        self.links.push(PendingWorker::new(link));
        self
    }

    /// The key by which the program's own links steer packets to workers
    /// ([`HostConfig`](crate::datapath::memory::HostConfig)), so that none need be handed over. Default: a
    /// random one. Interfaces always get a random one.
    pub fn steering_key(mut self, key: [u64; 2]) -> StackBuilder {
        self.steering_key = Some(key);
        self
    }

    /// Builds the stack: opens the interfaces and starts the workers.
    ///
    /// # Errors
    /// When nothing was given to run on, the interfaces cannot be opened (the error says why, and
    /// what to do), or the system gives no threads or random numbers.
    pub fn build(mut self) -> Result<Stack, BuildError> {
        let key = random::<16>()?;
        let (low, high) = key.split_at(8);
        let half = |bytes: &[u8]| bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let key = [half(low), half(high)];
        match (self.interfaces.is_empty(), self.links.is_empty()) {
            (true, true) => return Err(BuildError::NoLink),
            (false, false) => return Err(BuildError::MixedLinks),
            (false, true) => return interfaces::open(&self, key),
            (true, false) => {}
        }
        let workers = u16::try_from(self.links.len()).map_err(|_| BuildError::TooManyWorkers(self.links.len()))?;
        start(Parts {
            endpoint: self.endpoint_config(),
            workers: std::mem::take(&mut self.links),
            steering: Steering { key: self.steering_key.unwrap_or(key), workers },
            control: Box::new(NoControl),
            interfaces: Vec::new(),
            xdp: None,
            mtu: u16::MAX,
        })
    }

    /// What the protocol endpoints are told.
    pub(super) fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig {
            addresses: self.addresses.clone(),
            udp_port: self.udp_port.filter(|_| !self.interfaces.is_empty()),
            ..Default::default()
        };
        if let Some(count) = self.max_associations {
            config.max_associations = count;
        }
        if self.silent {
            config.out_of_the_blue = OutOfTheBluePolicy::Discard;
        }
        config
    }
}
