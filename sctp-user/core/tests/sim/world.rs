//! The world: endpoints, network and applications in virtual time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use sctp_core::time::Instant;
use sctp_core::{AssociationId, Connect, ConnectError, Ecn, EndpointConfig, Event, Handled, ListenConfig};

use super::app::{Phase, Plan, Side};
use super::capture::{self, Captured};
use super::ledger::Ledger;
use super::network::{Arrival, LinkConfig, Network};
use super::node::Node;
use super::observer::Observer;
use super::random::Random;

/// What applications give as the reason of an ABORT.
pub(crate) const ABORT_REASON: &[u8] = b"the simulation says so";

/// More steps than any run needs: beyond them it goes round in circles.
const MOST_STEPS: u64 = 5_000_000;
/// The same for steps without time passing, and for packets sent at once.
pub(super) const MOST_STEPS_AT_ONCE: u32 = 20_000;

/// A rule that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

/// Two applications that are to talk, and how.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) client_port: u16,
    pub(crate) server_port: u16,
    pub(crate) client_plan: Plan,
    pub(crate) server_plan: Plan,
}

/// What the agenda holds.
pub(crate) enum Deed {
    Arrive {
        source: IpAddr,
        destination: IpAddr,
        bytes: Bytes,
        ecn: Ecn,
    },
    Send(usize),
    Read(usize),
    End(usize),
    /// The client of a conversation connects.
    Connect(usize),
    /// The server of a conversation connects too, from the port that the client connects to.
    ConnectBack(usize),
    /// A host loses everything and starts again.
    Crash(usize),
    /// A host does not run for a while.
    Sleep(usize, Duration),
    /// … and then goes on where it was.
    Wake(usize),
    /// A host is told by ICMP that a packet of this size at most would have passed.
    TellMtu {
        node: usize,
        source: IpAddr,
        destination: IpAddr,
        mtu: usize,
        quoted: Bytes,
    },
    /// The clock of a host leaps ahead.
    Leap(usize, Duration),
    /// The clock of a host that has leapt ahead is set back by a little, as by somebody who corrects it.
    StepBack(usize, Duration),
    /// Somebody sends a host ICMP about packets of its own to another. If he is on the path he knows their tag.
    ForgeIcmp {
        victim: usize,
        quoted_to: usize,
        knows_tag: bool,
    },
    /// Somebody off the path sends garbage with the addresses of these two hosts.
    Inject(usize, usize),
}

/// What an [interceptor](World::intercept) decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Drop,
    Delay(Duration),
}

/// A packet that an interceptor looks at.
pub(crate) struct Sight<'a> {
    pub(crate) at: Instant,
    pub(crate) from: usize,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: &'a [u8],
}

pub(super) type Interceptor = Box<dyn FnMut(&Sight<'_>) -> Verdict>;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node>,
    pub(crate) sides: Vec<Side>,
    pub(crate) conversations: Vec<Conversation>,
    pub(crate) ledger: Ledger,
    pub(crate) observer: Observer,
    pub(crate) packets: Vec<Captured>,
    /// Whether the network is so bad that associations may die of it.
    pub(crate) harsh: bool,
    /// Whether the run is being ended: nobody connects any more.
    pub(crate) ending: bool,
    /// Packets that endpoints dropped.
    pub(crate) dropped: u64,
    /// What became of the packet that arrived last.
    pub(crate) handled: Option<Handled>,
    pub(super) random: Random,
    agenda: BinaryHeap<Reverse<Entry>>,
    pub(super) sequence: u64,
    pub(super) in_flight: usize,
    steps: u64,
    steps_at_once: u32,
    pub(super) interceptor: Option<Interceptor>,
    pub(super) arrivals: Vec<Arrival>,
    /// Name of the capture, and how to run this again.
    label: String,
    rerun: String,
    violation: Option<Violation>,
}

struct Entry {
    at: Instant,
    sequence: u64,
    deed: Deed,
}

impl Conversation {
    /// What the application on this host is to do.
    pub(crate) fn plan_of(&self, node: usize) -> &Plan {
        if node == self.server { &self.server_plan } else { &self.client_plan }
    }
}

impl World {
    /// An empty world. `label` names its capture should it fail, `rerun` is the command that repeats it.
    pub(crate) fn new(seed: u64, label: impl Into<String>, rerun: impl Into<String>) -> Self {
        let random = Random::new(seed);
        Self {
            now: Instant::from_millis(1_000_000),
            network: Network::new(random.fork(1)),
            nodes: Vec::new(),
            sides: Vec::new(),
            conversations: Vec::new(),
            ledger: Ledger::default(),
            observer: Observer::default(),
            packets: Vec::new(),
            harsh: false,
            ending: false,
            dropped: 0,
            handled: None,
            random: random.fork(2),
            agenda: BinaryHeap::new(),
            sequence: 0,
            in_flight: 0,
            steps: 0,
            steps_at_once: 0,
            interceptor: None,
            arrivals: Vec::new(),
            label: label.into(),
            rerun: rerun.into(),
            violation: None,
        }
    }

    /// Adds a host.
    pub(crate) fn node(&mut self, addresses: &[IpAddr]) -> usize {
        let config = EndpointConfig { addresses: addresses.to_vec(), ..EndpointConfig::default() };
        self.node_with(config)
    }

    /// Adds a host whose addresses are those of its configuration.
    pub(crate) fn node_with(&mut self, config: EndpointConfig) -> usize {
        let random = self.random.fork(1000 + self.nodes.len() as u64);
        let addresses = config.addresses.clone();
        self.nodes.push(Node::new(config, addresses, random));
        self.nodes.len() - 1
    }

    /// Adds a host whose endpoint has this seed.
    pub(crate) fn node_seeded(&mut self, config: EndpointConfig, seed: [u8; 32]) -> usize {
        let index = self.node_with(config);
        let node = &mut self.nodes[index];
        node.endpoint = sctp_core::Endpoint::new(node.config.clone(), seed);
        index
    }

    /// Lays links in both directions between all addresses of the same family of two hosts.
    pub(crate) fn mesh(&mut self, a: usize, b: usize, config: &LinkConfig) {
        for one in self.nodes[a].addresses.clone() {
            for other in self.nodes[b].addresses.clone() {
                if one.is_ipv4() == other.is_ipv4() {
                    self.network.lay(one, other, config.clone());
                    self.network.lay(other, one, config.clone());
                }
            }
        }
    }

    /// Lays links in both directions between the first addresses of two hosts, their second addresses, and so on.
    pub(crate) fn networks(&mut self, a: usize, b: usize, config: &LinkConfig) {
        let others = self.nodes[b].addresses.clone();
        for (one, other) in self.nodes[a].addresses.clone().into_iter().zip(others) {
            self.network.lay(one, other, config.clone());
            self.network.lay(other, one, config.clone());
        }
    }

    /// Adds a conversation; the server listens. The client does not connect yet.
    pub(crate) fn converse(&mut self, conversation: Conversation) -> usize {
        let server = &mut self.nodes[conversation.server];
        if !server.listening.contains_key(&conversation.server_port) {
            let association = conversation.server_plan.config.clone();
            server.listen(conversation.server_port, ListenConfig { association, ..ListenConfig::default() });
        }
        self.conversations.push(conversation);
        self.conversations.len() - 1
    }

    /// The client of a conversation connects; gives its side.
    pub(crate) fn connect(&mut self, conversation: usize) -> usize {
        self.try_connect(conversation, false).expect("there is no association between these ports")
    }

    /// The server of a conversation connects from its port to the client's.
    pub(crate) fn connect_back(&mut self, conversation: usize) -> usize {
        self.try_connect(conversation, true).expect("there is no association between these ports")
    }

    /// Connects unless there is an association already.
    fn try_connect(&mut self, conversation: usize, back: bool) -> Option<usize> {
        let Conversation { client, server, client_port, server_port, client_plan, server_plan } =
            self.conversations[conversation].clone();
        let (from, from_port, to, to_port, plan) = match back {
            false => (client, client_port, server, server_port, client_plan),
            true => (server, server_port, client, client_port, server_plan),
        };
        let known = if plan.all_addresses { usize::MAX } else { 1 };
        let connect = Connect {
            local_port: Some(from_port),
            local_addresses: Vec::new(),
            peer_port: to_port,
            peer_addresses: self.nodes[to].addresses.iter().copied().take(known).collect(),
            config: plan.config.clone(),
        };
        let now = self.now + self.nodes[from].leapt;
        let id = match self.nodes[from].endpoint.connect(now, connect) {
            Ok(id) => id,
            Err(ConnectError::Exists { .. }) => return None,
            Err(error) => self.fail(Violation { rule: "connecting works", what: error.to_string() }),
        };
        let side = self.open_side(from, id, plan, Some(conversation));
        if self.sides[side].plan.early {
            self.schedule(self.now, Deed::Send(side));
        }
        self.settle(from);
        Some(side)
    }

    pub(super) fn open_side(
        &mut self,
        node: usize,
        id: AssociationId,
        plan: Plan,
        conversation: Option<usize>,
    ) -> usize {
        let index = self.sides.len();
        let random = self.random.fork(2000 + index as u64);
        let flow = self.ledger.open(index);
        self.sides.push(Side::new(node, id, plan, flow, conversation, random));
        self.nodes[node].sides.insert(id, index);
        index
    }

    /// The side that accepted most recently on this host.
    pub(crate) fn accepted(&self, node: usize) -> Option<usize> {
        let accepted = |side: &Side| matches!(side.events.first(), Some((_, Event::Accepted { .. })));
        self.sides.iter().rposition(|side| side.node == node && accepted(side))
    }

    /// Lets `interceptor` decide about every packet before the network does.
    pub(crate) fn intercept(&mut self, interceptor: impl FnMut(&Sight<'_>) -> Verdict + 'static) {
        self.interceptor = Some(Box::new(interceptor));
    }

    pub(crate) fn schedule(&mut self, at: Instant, deed: Deed) {
        self.in_flight += usize::from(matches!(deed, Deed::Arrive { .. }));
        self.sequence += 1;
        self.agenda.push(Reverse(Entry { at, sequence: self.sequence, deed }));
    }

    /// Runs for so long.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Runs up to a point in time.
    pub(crate) fn run_until(&mut self, until: Instant) {
        while self.next_at().is_some_and(|at| at <= until) {
            self.step();
        }
        if until > self.now {
            self.now = until;
            self.steps_at_once = 0;
        }
    }

    /// Runs until `done` says so; false when nothing is left to happen, or `limit` is over, before it does.
    pub(crate) fn run_while(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !done(self) {
            match self.next_at() {
                Some(at) if at <= end => self.step(),
                _ => return false,
            }
        }
        true
    }

    /// When something happens next.
    fn next_at(&mut self) -> Option<Instant> {
        let agenda = self.agenda.peek().map(|Reverse(entry)| entry.at);
        let timer = self.next_timer().map(|(at, _)| at);
        agenda.into_iter().chain(timer).min().map(|at| at.max(self.now))
    }

    fn next_timer(&mut self) -> Option<(Instant, usize)> {
        let timers = self.nodes.iter_mut().enumerate();
        timers.filter_map(|(index, node)| Some((node.timeout()?.max(node.asleep), index))).min()
    }

    /// Lets the next thing happen.
    fn step(&mut self) {
        let Some(at) = self.next_at() else { return };
        self.steps += 1;
        self.steps_at_once = if at > self.now { 0 } else { self.steps_at_once + 1 };
        self.now = at;
        if self.steps > MOST_STEPS || self.steps_at_once > MOST_STEPS_AT_ONCE {
            let what = format!("{} steps, {} of them at this time", self.steps, self.steps_at_once);
            self.fail(Violation { rule: "time goes on", what });
        }
        if let Some((due, node)) = self.next_timer()
            && due <= at
        {
            let node_now = at + self.nodes[node].leapt;
            self.nodes[node].endpoint.handle_timeout(node_now);
            return self.settle(node);
        }
        let Some(Reverse(entry)) = self.agenda.pop() else { return };
        self.act(entry.deed);
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Arrive { source, destination, bytes, ecn } => self.arrive(source, destination, bytes, ecn),
            Deed::Send(side) => self.do_for(side, Self::send_planned),
            Deed::Read(side) => self.do_for(side, Self::read_on),
            Deed::End(side) => self.end(side),
            Deed::Connect(conversation) if !self.ending => drop(self.try_connect(conversation, false)),
            Deed::ConnectBack(conversation) if !self.ending => drop(self.try_connect(conversation, true)),
            Deed::Connect(_) | Deed::ConnectBack(_) => {}
            Deed::Crash(node) => self.crash(node),
            Deed::Sleep(node, duration) => self.sleep(node, duration),
            Deed::Wake(node) => self.settle(node),
            Deed::TellMtu { node, source, destination, mtu, quoted } => {
                self.tell_mtu(node, (source, destination), mtu, &quoted);
            }
            Deed::Leap(node, by) if !self.ending => self.leap(node, by),
            Deed::Leap(..) => {}
            Deed::StepBack(node, by) => self.step_back(node, by),
            Deed::ForgeIcmp { victim, quoted_to, knows_tag } => self.forge_icmp(victim, quoted_to, knows_tag),
            Deed::Inject(victim, pretended) => self.inject(victim, pretended),
        }
    }

    fn do_for(&mut self, side: usize, deed: fn(&mut Self, usize) -> Result<(), Violation>) {
        if self.sides[side].phase == Phase::Crashed {
            return;
        }
        let done = deed(self, side);
        self.judge(done);
        self.settle(self.sides[side].node);
    }

    /// The host that has an address.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.addresses.contains(&address))
    }

    /// Ends the run if something is wrong.
    pub(crate) fn judge<T>(&mut self, result: Result<T, Violation>) -> T {
        match result {
            Ok(value) => value,
            Err(violation) => self.fail(violation),
        }
    }

    pub(crate) fn fail(&mut self, violation: Violation) -> ! {
        let message = format!("invariant \"{}\": {}", violation.rule, violation.what);
        self.violation = Some(violation);
        panic!("{message}");
    }
}

impl Drop for World {
    /// A run that fails, by a violated rule or by a panic in an endpoint, says where and leaves a capture.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let violated = match &self.violation {
            Some(Violation { rule, what }) => format!("invariant \"{rule}\": {what}"),
            None => "panic".to_owned(),
        };
        let seconds = (self.now.as_nanos() as f64 - 1e12) / 1e9;
        let capture = match capture::write(&self.label.replace(' ', "-"), &self.packets) {
            Ok(path) => path.display().to_string(),
            Err(error) => format!("not written ({error})"),
        };
        for (index, side) in self.sides.iter().enumerate() {
            eprintln!("side {index}: {side}");
        }
        eprintln!("{}: {violated} at t={seconds:.6} s; capture {capture}; rerun with {}", self.label, self.rerun);
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}

impl Eq for Entry {}
