//! Opening interfaces.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::super::frames::FramePool;
use super::super::netlink::{LinkInfo, Network};
use super::super::socket::{CopyMode, Opened, QueueRings, QueueSizes, Role, Socket, SocketError, SocketRequest, Step};
use super::config::{AttachMode, CopyPolicy, FragmentPolicy, InterfaceMode, Mode, XdpConfig};
use super::control::{Control, Programs, Shared};
use super::drops::Drops;
use super::error::OpenError;
use super::link::XdpLink;
use super::log::LogReader;
use super::offers::Offers;
use super::packet::UdpReceive;
use super::port::{Port, QueueAccess};
use super::program::{Program, Target};
use super::reassembled::{Reassembled, kernel_has_sctp};
use super::reserve::UdpReservation;
use super::shared_tags::SharedTags;
use super::{capabilities, ethtool};

/// Opens interfaces for workers.
#[derive(Debug)]
pub enum XdpInterfaces {}

impl XdpInterfaces {
    /// Attaches the XDP program to the interfaces, and makes a link for each worker.
    ///
    /// It happens in the network namespace of the calling thread. Nothing is taken from the kernel yet: ports
    /// are by [`Control::own_port`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing is left attached then.
    pub fn open(config: &XdpConfig) -> Result<(Control, Vec<XdpLink>), OpenError> {
        config.validate()?;
        let config = &with_possible_fragments(config.clone());
        let network = Network::start(&config.interfaces).map_err(OpenError::Network)?;
        let snapshot = network.snapshot();
        let mut interfaces = Vec::new();
        for name in &config.interfaces {
            let link =
                snapshot.link_by_name(name).ok_or_else(|| OpenError::UnknownInterface { interface: name.clone() })?;
            interfaces.push(Interface::examine(link, config)?);
        }
        capabilities::check()?;
        let udp_port = config
            .udp_port
            .map(|port| UdpReservation::bind(port).map_err(|source| OpenError::UdpPort { port: port.get(), source }));
        let udp_port = udp_port.transpose()?;

        let queues = interfaces.iter().map(|interface| interface.queues).sum();
        let frames = config.frames_for(queues)?;
        let frame_size = config.frame_size.bytes();
        capabilities::check_locked_memory(u64::from(frames) * u64::from(frame_size))?;

        // Before the sockets: some drivers allow zero-copy sockets only where a program is attached.
        let mut programs = Vec::new();
        for interface in &interfaces {
            programs.push(Program::attach(interface.target(), config)?);
        }
        let all_native = programs.iter().all(Program::is_native);

        let (pool, sockets) = Sockets::open(config, &interfaces, frames, all_native)?;
        let zero_copy = sockets.is_zero_copy()?;
        sockets.announce(&mut programs)?;
        let logs = programs.iter_mut().filter_map(Program::take_log).collect();
        let log = LogReader::start(logs).map_err(|source| OpenError::System {
            what: "the thread that reads the XDP log cannot be started",
            source,
        })?;

        let drops = Drops::new(programs.iter_mut().filter_map(Program::take_drops).collect());

        let mode = Mode {
            zero_copy,
            workers: config.steering.workers,
            interfaces: interfaces
                .iter()
                .zip(&programs)
                .map(|(interface, program)| InterfaceMode {
                    name: interface.name.clone(),
                    ifindex: interface.ifindex,
                    queues: interface.queues,
                    native: program.is_native(),
                })
                .collect(),
            fragments: config.fragments,
            frames,
            frame_size,
            huge_pages: pool.umem().huge_pages(),
        };
        let reassembled = (config.fragments == FragmentPolicy::Reassemble).then(|| {
            let interfaces: Vec<u32> = interfaces.iter().map(|interface| interface.ifindex).collect();
            Reassembled::open(&interfaces, config.steering, config.trusted_link)
        });
        let mut reassembled = reassembled.transpose()?;
        let udp = config.udp_port.map(|port| UdpReceive { port, trusted_link: config.trusted_link });
        let shared = Arc::new(Shared {
            network,
            pool,
            capture: config.capture.clone(),
            mode,
            udp,
            _udp_port: udp_port,
            answers_heartbeats: config.answer_heartbeats,
            programs: Mutex::new(Programs {
                programs,
                addresses: HashSet::new(),
                heartbeats: HashMap::new(),
                shared_tags: SharedTags::default(),
                offers: Offers::default(),
            }),
            sockets: sockets.weak(),
            _log: log,
            drops,
        });
        let links = (0..config.steering.workers)
            .zip(sockets.into_ports(config.steering.workers))
            .map(|(worker, ports)| XdpLink::new(worker, shared.clone(), ports, reassembled.take(), config.dscp))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|source| OpenError::System { what: "a worker's link cannot be made", source })?;
        shared.settle();
        Ok((Control::new(shared), links))
    }
}

/// The settings, without reassembly where the kernel's own SCTP would interfere.
fn with_possible_fragments(mut config: XdpConfig) -> XdpConfig {
    if config.fragments == FragmentPolicy::Reassemble && kernel_has_sctp() {
        tracing::warn!(
            "packets that come in IP fragments are dropped, because the kernel's own SCTP would answer them: unload it (modprobe -r sctp)"
        );
        config.fragments = FragmentPolicy::Drop;
    }
    config
}

/// An interface that is to be opened.
#[derive(Debug)]
struct Interface {
    name: String,
    ifindex: u32,
    mtu: u32,
    queues: u32,
    attached: Option<u32>,
    sends_answers: bool,
}

impl Interface {
    fn examine(link: &LinkInfo, config: &XdpConfig) -> Result<Self, OpenError> {
        let interface = link.name.clone();
        if link.mac.is_none() {
            return Err(OpenError::NotEthernet { interface });
        }
        let available = ethtool::receive_queues(&link.name).unwrap_or(link.receive_queues).max(1);
        let queues = config.queues.unwrap_or(available);
        if queues > available {
            return Err(OpenError::TooFewQueues { interface, wanted: queues, available });
        }
        // Natively, veth drops what a program returns for sending unless the other end has a program too; and what the other end
        // is, in a container of its own perhaps, cannot be known.
        let sends_answers =
            config.attach == AttachMode::Generic || ethtool::driver(&link.name).is_none_or(|driver| driver != "veth");
        let attached = link.xdp_program;
        Ok(Self { name: interface, ifindex: link.ifindex, mtu: link.mtu, queues, attached, sends_answers })
    }

    fn target(&self) -> Target<'_> {
        Target {
            name: &self.name,
            ifindex: self.ifindex,
            mtu: self.mtu,
            queues: self.queues,
            attached: self.attached,
            sends_answers: self.sends_answers,
        }
    }
}

/// All sockets, bound but without frames.
#[derive(Debug)]
struct Sockets {
    queues: Vec<Queue>,
}

/// The sockets on one queue, in the order of the workers.
#[derive(Debug)]
struct Queue {
    /// Index among the interfaces.
    interface: usize,
    ifindex: u32,
    number: u32,
    sockets: Vec<Opened>,
}

impl Sockets {
    /// Makes them all: with zero-copy if all interfaces can, else with copies.
    fn open(
        config: &XdpConfig,
        interfaces: &[Interface],
        frames: u32,
        all_native: bool,
    ) -> Result<(Arc<FramePool>, Self), OpenError> {
        let pool = FramePool::new(frames, config.frame_size, config.huge_pages);
        let frame_size = config.frame_size.bytes();
        let pool = pool.map_err(|source| OpenError::Memory { frames, frame_size, source })?;
        let open = |mode| Self::open_with(config, interfaces, &pool, mode);
        // In generic mode the driver knows nothing of the program, and its zero-copy would bypass it.
        let try_zero_copy = config.copy != CopyPolicy::Copy && all_native;
        let sockets = match try_zero_copy.then(|| open(CopyMode::ZeroCopy)) {
            Some(Ok(sockets)) => sockets,
            Some(Err((error, _))) if !error.means_no_zero_copy() => {
                return Err(error.into_open_error(interfaces, frames, frame_size));
            }
            Some(Err((_, interface))) if config.copy == CopyPolicy::ZeroCopy => {
                let interface = interfaces[interface].name.clone();
                return Err(OpenError::NoZeroCopy { interface });
            }
            None if config.copy == CopyPolicy::ZeroCopy => {
                let interface = interfaces[0].name.clone();
                return Err(OpenError::NoZeroCopy { interface });
            }
            Some(Err(_)) | None => {
                open(CopyMode::Copy).map_err(|(error, _)| error.into_open_error(interfaces, frames, frame_size))?
            }
        };
        Ok((pool, sockets))
    }

    fn open_with(
        config: &XdpConfig,
        interfaces: &[Interface],
        pool: &Arc<FramePool>,
        mode: CopyMode,
    ) -> Result<Self, (Failure, usize)> {
        let mut queues: Vec<Queue> = Vec::new();
        for (index, interface) in interfaces.iter().enumerate() {
            for number in 0..interface.queues {
                let queue = Queue { interface: index, ifindex: interface.ifindex, number, sockets: Vec::new() };
                let first = queues.first().and_then(|queue| queue.sockets.first());
                let first = first.map(|first| &first.socket);
                let failed = |error| (Failure { error, interface: index, queue: number }, index);
                let queue = queue.open(config, interface, pool, mode, first).map_err(failed)?;
                queues.push(queue);
            }
        }
        Ok(Self { queues })
    }

    fn is_zero_copy(&self) -> Result<bool, OpenError> {
        let what = "the mode of an AF_XDP socket cannot be read";
        let mut sockets = self.queues.iter().flat_map(|queue| &queue.sockets);
        sockets
            .try_fold(true, |all, opened| Ok(all && opened.socket.is_zero_copy()?))
            .map_err(|source| OpenError::System { what, source })
    }

    /// Lets the programs redirect to the sockets.
    fn announce(&self, programs: &mut [Program]) -> Result<(), OpenError> {
        let name = sctp_common::maps::names::XSKS;
        for queue in &self.queues {
            for (worker, opened) in (0..).zip(&queue.sockets) {
                programs[queue.interface]
                    .set_socket(queue.number, worker, &opened.socket)
                    .map_err(|source| OpenError::Map { name, source })?;
            }
        }
        Ok(())
    }

    fn weak(&self) -> Vec<std::sync::Weak<Socket>> {
        let sockets = self.queues.iter().flat_map(|queue| &queue.sockets);
        sockets.map(|opened| Arc::downgrade(&opened.socket)).collect()
    }

    /// Deals the sockets out to the workers.
    fn into_ports(self, workers: u16) -> Vec<Vec<Port>> {
        let mut dealt: Vec<Vec<Port>> = (0..workers).map(|_| Vec::new()).collect();
        for Queue { ifindex, sockets, .. } in self.queues {
            let mut shared: Option<Arc<Mutex<QueueRings>>> = None;
            for (ports, opened) in dealt.iter_mut().zip(sockets) {
                let Opened { socket, receive, transmit, queue } = opened;
                // The first socket of a queue brings the rings.
                let access = match (queue, &shared) {
                    (Some(rings), _) if workers == 1 => QueueAccess::Own(rings),
                    (Some(rings), _) => {
                        let rings = shared.insert(Arc::new(Mutex::new(rings)));
                        QueueAccess::Shared(rings.clone())
                    }
                    (None, Some(rings)) => QueueAccess::Shared(rings.clone()),
                    (None, None) => unreachable!("the first socket of a queue has its rings"),
                };
                ports.push(Port::new(ifindex, socket, receive, transmit, access));
            }
        }
        dealt
    }
}

impl Queue {
    /// Makes a socket for each worker on the queue. `first` is the first socket of all, if there is one yet.
    fn open(
        mut self,
        config: &XdpConfig,
        interface: &Interface,
        pool: &Arc<FramePool>,
        mode: CopyMode,
        first: Option<&Arc<Socket>>,
    ) -> Result<Self, SocketError> {
        let workers = u32::from(config.steering.workers);
        // Workers send by the queue of their own number, or share one if there are more of them.
        let senders = |worker: u32| worker % interface.queues == self.number;
        let sharing = (0..workers).filter(|&worker| senders(worker)).count().max(1) as u32;
        let sizes = QueueSizes {
            fill: config.fill_ring,
            // Everything that its senders can have under way.
            completion: (config.transmit_ring * sharing).next_power_of_two(),
        };
        let mut opened: Vec<Opened> = Vec::new();
        for worker in 0..workers {
            let role = match (opened.first(), first) {
                (Some(sibling), _) => Role::Sibling(&sibling.socket),
                (None, Some(first)) => Role::FirstOfQueue(first, sizes),
                (None, None) => Role::First(mode, sizes),
            };
            let next = Socket::open(SocketRequest {
                pool,
                ifindex: interface.ifindex,
                queue: self.number,
                receive: config.receive_ring,
                transmit: senders(worker).then_some(config.transmit_ring),
                role,
            })?;
            opened.push(next);
        }
        self.sockets = opened;
        Ok(self)
    }
}

/// A socket could not be made.
#[derive(Debug)]
struct Failure {
    error: SocketError,
    interface: usize,
    queue: u32,
}

impl Failure {
    fn means_no_zero_copy(&self) -> bool {
        self.error.step == Step::Bind && matches!(self.error.source, Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)
    }

    fn into_open_error(self, interfaces: &[Interface], frames: u32, frame_size: u32) -> OpenError {
        let interface = interfaces[self.interface].name.clone();
        let queue = self.queue;
        let SocketError { step, source } = self.error;
        match (step, source) {
            (Step::Socket, Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) => OpenError::NoAfXdp,
            (Step::Socket, Errno::PERM | Errno::ACCESS) => {
                OpenError::MissingCapability { capability: "CAP_NET_RAW", purpose: "open AF_XDP sockets" }
            }
            // The limit was looked at before, so it is one of another kind: a control group's, perhaps.
            (Step::RegisterUmem, source @ (Errno::NOBUFS | Errno::NOMEM)) => {
                OpenError::Memory { frames, frame_size, source: source.into() }
            }
            (Step::Bind, Errno::BUSY) => OpenError::QueueBusy { interface, queue },
            _ => OpenError::Socket { interface, queue, reason: SocketError { step, source }.to_string() },
        }
    }
}
