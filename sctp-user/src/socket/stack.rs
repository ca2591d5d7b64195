//! The stack: its workers, and what begins associations.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sctp_common::steering::Steering;
use sctp_core::{AssociationConfig, Connect, CookieSecret, Endpoint, EndpointConfig, ListenConfig, WorkerSteering};
use tokio::sync::oneshot;

use super::association::Association;
use super::builder::StackBuilder;
use super::error::{BuildError, ConnectError, ListenError};
use super::listener::Listener;
use super::options::{ConnectOptions, ListenOptions};
use crate::datapath::{Link, LinkWaker, xdp};
use crate::stack::accept::Acceptor;
use crate::stack::clock::Clock;
use crate::stack::command::{Command, Inspection, queue_limits};
use crate::stack::mailbox::Mailbox;
use crate::stack::ports::{Control, Ports, Reason};
use crate::stack::steer::Steer;
use crate::stack::worker::{Common, Worker};

/// An SCTP stack: worker threads that own network interface queues, and the associations on them.
///
/// Handles can be cloned. The workers run as long as any handle of the stack, of a listener or of
/// an association lives; when the last is dropped they abort what is left and end.
#[derive(Debug, Clone)]
pub struct Stack {
    shared: Arc<Shared>,
}

impl Stack {
    /// Begins a new stack.
    pub fn builder() -> StackBuilder {
        StackBuilder::default()
    }

    /// Accepts associations on `port`.
    ///
    /// # Errors
    /// When the port is zero or being listened on, an option is out of range, or the data path
    /// cannot take the port.
    ///
    /// Cancel-safe: dropping the future stops listening.
    pub async fn listen(&self, port: u16, options: ListenOptions) -> Result<Listener, ListenError> {
        let shared = &self.shared;
        let stopped = || ListenError::Stopped(shared.why_stopped());
        let reservation =
            shared.common.ports.reserve(port).ok_or(ListenError::Refused(sctp_core::ListenError::PortInUse(port)))?;
        let association = shared.fit(options.association);
        let limits = queue_limits(&association, options.queue);
        let acceptor = Arc::new(Acceptor::new(options.backlog, limits));
        // Made first, so that a failure or a dropped future is undone.
        let mut listener = Listener::new(port, acceptor.clone(), shared.clone(), reservation);
        let mut answers = Vec::new();
        for mailbox in shared.mailboxes() {
            let (reply, answer) = oneshot::channel();
            let config =
                Box::new(ListenConfig { association: association.clone(), max_associations: options.max_associations });
            let command = Command::Listen { port, config, acceptor: acceptor.clone(), reply };
            mailbox.command(command).map_err(|_| stopped())?;
            answers.push(answer);
        }
        for answer in answers {
            answer.await.map_err(|_| stopped())??;
        }
        // The port is claimed last: INITs come in when every worker can answer them.
        let lease = shared.common.ports.lease(port, Reason::Listener);
        listener.open(lease.map_err(|source| ListenError::Port { port, source })?);
        let offered = shared.common.ports.control().offer(port, association.offer());
        offered.map_err(|source| ListenError::Port { port, source })?;
        Ok(listener)
    }

    /// Sets up an association with `peer` and waits until it is established.
    ///
    /// Cancel-safe: dropping the future aborts the attempt.
    ///
    /// # Errors
    /// When an option is out of range, the peer does not answer or refuses, or the stack stops.
    pub async fn connect(&self, peer: SocketAddr, options: ConnectOptions) -> Result<Association, ConnectError> {
        let shared = &self.shared;
        let mailbox = shared.mailbox_for(peer, options.local_port);
        let config = shared.fit(options.association);
        let limits = queue_limits(&config, options.queue);
        let mut peer_addresses = vec![peer.ip()];
        peer_addresses.extend(options.more_peer_addresses);
        let connect = Box::new(Connect {
            local_port: options.local_port,
            local_addresses: options.local_addresses,
            peer_port: peer.port(),
            peer_addresses,
            config,
        });
        let (reply, answer) = oneshot::channel();
        let stopped = || ConnectError::Stopped(shared.why_stopped());
        mailbox.command(Command::Connect { connect, limits, reply }).map_err(|_| stopped())?;
        let channel = answer.await.map_err(|_| stopped())??;
        let association = Association::new(channel, shared.clone());
        association.connected().await?;
        Ok(association)
    }

    /// Ends every association gracefully, for at most `grace`, aborts what is left, and stops the
    /// workers. Nothing can be begun any more.
    //= RFC 9260 §9: "An endpoint SHOULD terminate its association when it exits from service."
    pub async fn close(&self, grace: Duration) {
        let shared = self.shared.clone();
        for mailbox in shared.mailboxes() {
            // A worker that has ended already has nothing left to do.
            let _ = mailbox.command(Command::Stop { grace });
        }
        let (done, wait) = oneshot::channel();
        // Joining blocks, and this crate does not know the runtime: a thread does it.
        thread::spawn(move || {
            shared.join();
            // Whoever waited may have given up.
            let _ = done.send(());
        });
        // The thread always ends.
        let _ = wait.await;
    }

    /// Tells the stack that the host's addresses have changed. Associations to come use the new
    /// ones. On network interfaces the stack does so by itself.
    pub fn set_local_addresses(&self, addresses: &[IpAddr]) {
        self.shared.set_local_addresses(addresses);
    }

    /// How many workers the stack has.
    pub fn workers(&self) -> u16 {
        self.shared.mailboxes().len() as u16
    }

    /// The interfaces that the stack runs on; none when it runs on links of the caller's own.
    pub fn interfaces(&self) -> &[String] {
        &self.shared.interfaces
    }

    /// What the stack's XDP programs and AF_XDP sockets can be asked for; `None` when the stack
    /// runs on links of the caller's own.
    pub fn xdp(&self) -> Option<&xdp::Control> {
        self.shared.xdp.as_ref()
    }

    /// Runs `look` on every worker's thread, and gives the results in the workers' order. Workers
    /// that have ended give none.
    pub(crate) async fn inspect<T, F>(&self, look: F) -> Vec<T>
    where
        T: Send + 'static,
        F: Fn(&Inspection<'_>) -> T + Clone + Send + 'static,
    {
        let mut answers = Vec::new();
        for mailbox in self.shared.mailboxes() {
            let (reply, answer) = oneshot::channel();
            let look = look.clone();
            let command = Command::Inspect(Box::new(move |inspection| {
                // Whoever asked may have given up.
                let _ = reply.send(look(inspection));
            }));
            if mailbox.command(command).is_ok() {
                answers.push(answer);
            }
        }
        let mut results = Vec::new();
        for answer in answers {
            results.extend(answer.await);
        }
        results
    }
}

/// What every handle of a stack keeps alive.
#[derive(Debug)]
pub(crate) struct Shared {
    common: Common,
    interfaces: Vec<String>,
    xdp: Option<xdp::Control>,
    /// The longest IP packet, in bytes, that all interfaces carry.
    mtu: u16,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Whose turn it is to get the next association.
    next: AtomicUsize,
}

impl Shared {
    /// The workers' mailboxes.
    pub(crate) fn mailboxes(&self) -> &[Arc<Mailbox>] {
        self.common.steer.mailboxes()
    }

    /// Why the stack has stopped; `None` while every worker runs.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.mailboxes().iter().find_map(|mailbox| mailbox.ended())
    }

    /// Settings of an association that fit the stack: no packet may be longer than the interfaces carry.
    fn fit(&self, mut config: AssociationConfig) -> AssociationConfig {
        let carried = self.mtu.max(SMALLEST_MTU);
        config.path_mtu = config.path_mtu.min(carried);
        config.max_path_mtu = Some(config.max_path_mtu.unwrap_or(carried).min(carried));
        // Channels are queues in front of the associations.
        config.queued_outside = true;
        config
    }

    fn why_stopped(&self) -> String {
        self.stopped().unwrap_or("it is being stopped").to_owned()
    }

    /// The worker for a new association: the one that has an association with this peer from this
    /// port already (it will say so), else each in turn.
    fn mailbox_for(&self, peer: SocketAddr, local_port: Option<u16>) -> &Arc<Mailbox> {
        let owner =
            local_port.and_then(|local_port| self.common.steer.owner_of_peer(peer.ip(), peer.port(), local_port));
        let mailboxes = self.mailboxes();
        let index = match owner {
            Some(owner) => usize::from(owner),
            None => self.next.fetch_add(1, Ordering::Relaxed),
        };
        &mailboxes[index % mailboxes.len()]
    }

    pub(crate) fn set_local_addresses(&self, addresses: &[IpAddr]) {
        for mailbox in self.mailboxes() {
            // A worker that has ended needs no addresses.
            let _ = mailbox.command(Command::SetAddresses(addresses.to_vec()));
        }
    }

    fn join(&self) {
        let threads = {
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *threads)
        };
        for thread in threads {
            // A worker that wakes a task may be the one that drops the last handle: it ends by itself.
            if thread.thread().id() == thread::current().id() {
                continue;
            }
            // A worker that panicked has ended its associations when it unwound.
            let _ = thread.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for mailbox in self.mailboxes() {
            // A worker that has ended needs no telling.
            let _ = mailbox.command(Command::Stop { grace: Duration::ZERO });
        }
        self.join();
    }
}

/// A link that waits for its worker, with its type erased until the worker's thread runs.
pub(crate) struct PendingWorker {
    waker: LinkWaker,
    start: Box<dyn FnOnce(Endpoint, Arc<Mailbox>, Common) + Send>,
}

impl PendingWorker {
    /// The worker of `link`.
    pub(crate) fn new<L: Link + Send + 'static>(link: L) -> PendingWorker {
        PendingWorker {
            waker: link.waker(),
            start: Box::new(move |endpoint, mailbox, common| {
                Worker::new(link, endpoint, mailbox, common).run();
            }),
        }
    }
}

impl std::fmt::Debug for PendingWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingWorker").finish_non_exhaustive()
    }
}

/// Everything that a stack is started from.
pub(crate) struct Parts {
    pub(crate) workers: Vec<PendingWorker>,
    pub(crate) steering: Steering,
    pub(crate) control: Box<dyn Control>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) xdp: Option<xdp::Control>,
    pub(crate) endpoint: EndpointConfig,
    /// The longest IP packet, in bytes, that all interfaces carry.
    pub(crate) mtu: u16,
}

/// The smallest path MTU that an association can have.
const SMALLEST_MTU: u16 = 576;

/// Starts the workers.
pub(crate) fn start(parts: Parts) -> Result<Stack, BuildError> {
    let mailboxes = (0_u16..)
        .zip(&parts.workers)
        .map(|(index, worker)| Arc::new(Mailbox::new(index, worker.waker.clone())))
        .collect();
    let common = Common {
        steer: Arc::new(Steer::new(parts.steering, mailboxes)),
        ports: Arc::new(Ports::new(parts.control)),
        clock: Clock::start(),
    };
    // A COOKIE ECHO may come in anywhere.
    let [first, last] = [random()?, random()?].map(u64::from_ne_bytes);
    let cookie_secret = CookieSecret::new([first, last]);
    if let Some(xdp) = &parts.xdp {
        let EndpointConfig { cookie_lifetime, .. } = parts.endpoint;
        let (epoch, lifespans) = (parts.endpoint.cookie_epoch(), [cookie_lifetime, 2 * cookie_lifetime]);
        let checked = xdp.check_cookies(&cookie_secret, epoch, lifespans, common.clock.now());
        checked.map_err(BuildError::Cookies)?;
    }
    let shared = Arc::new(Shared {
        common: common.clone(),
        interfaces: parts.interfaces,
        xdp: parts.xdp,
        mtu: parts.mtu,
        threads: Mutex::default(),
        next: AtomicUsize::new(0),
    });
    for (worker, mailbox) in parts.workers.into_iter().zip(shared.mailboxes()) {
        let steering = WorkerSteering { steering: parts.steering, worker: mailbox.index() };
        let config = EndpointConfig {
            steering: (parts.steering.workers > 1).then_some(steering),
            cookie_secret: Some(cookie_secret),
            ..parts.endpoint.clone()
        };
        let seed = random()?;
        let (mailbox, common) = (mailbox.clone(), common.clone());
        let thread = thread::Builder::new()
            .name(format!("sctp-worker-{}", mailbox.index()))
            .spawn(move || (worker.start)(Endpoint::new(config, seed), mailbox, common))
            .map_err(BuildError::Thread)?;
        shared.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
    }
    Ok(Stack { shared })
}

/// Random bytes of the system, good for keys.
//= RFC 9260 §5.1.3: "The secret key SHOULD be random"
//= RFC 9260 §14.1: "This SHOULD be a cryptographic quality random number with a sufficient length."
pub(crate) fn random<const N: usize>() -> Result<[u8; N], BuildError> {
    let mut bytes = [0; N];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(BuildError::Random)?;
    Ok(bytes)
}
