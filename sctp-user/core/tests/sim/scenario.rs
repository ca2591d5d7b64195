//! Random worlds: a seed decides on hosts, links, faults, settings and applications.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use sctp_core::{AssociationConfig, CongestionAlgorithm, EndpointConfig, StreamScheduler};

use super::app::{Ending, Plan, Reading, Sizes};
use super::ledger::LONGEST;
use super::network::{LinkConfig, Loss};
use super::random::Random;
use super::world::{Conversation, Deed, Violation, World};

/// After so long in virtual time, associations in a network that lets packets through must have ended by themselves.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// How far a clock leaps ahead at most.
const LONGEST_LEAP: Duration = Duration::from_secs(3 * 86_400);
/// When the network may keep them from it, they are ended after so long.
const HARSH_PATIENCE: Duration = Duration::from_secs(600);

/// What kind of trouble a world has. Not exclusive.
struct Mood {
    /// Links may be so bad that associations die; only safety is judged, not success.
    harsh: bool,
    crashes: bool,
    cuts: bool,
    sleeps: bool,
    /// Clocks leap ahead.
    leaps: bool,
    /// Links carry less than their ends think.
    narrows: bool,
    injections: bool,
    /// Clocks are set back by a little.
    steps_back: bool,
    /// ICMP is forged by those who know tags, or do not.
    forged_icmp: bool,
}

impl Mood {
    /// Whether associations may die without anybody wishing it.
    const fn may_kill(&self) -> bool {
        self.harsh || self.crashes
    }
}

/// The named settings that associations begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    Default,
    Rfc,
    Signalling,
    Ran,
}

impl Profile {
    const ALL: [Self; 4] = [Self::Default, Self::Rfc, Self::Signalling, Self::Ran];

    const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Rfc => "rfc",
            Self::Signalling => "signalling",
            Self::Ran => "ran",
        }
    }

    fn config(self) -> AssociationConfig {
        match self {
            Self::Default => AssociationConfig::default(),
            Self::Rfc => AssociationConfig::rfc(),
            Self::Signalling => AssociationConfig::signalling(),
            Self::Ran => AssociationConfig::ran(),
        }
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| format!("one of {}", names()))
    }
}

/// Builds the world of a seed, with everything that will happen in it on its agenda. All associations have the profile, if one is
/// given.
pub(crate) fn build(seed: u64, profile: Option<Profile>) -> World {
    let mut random = Random::new(seed).fork(7);
    let forced = profile.map(|profile| format!(" SCTP_SIM_PROFILE={}", profile.name())).unwrap_or_default();
    let rerun = format!("SCTP_SIM_SEED={seed}{forced} cargo test -p sctp-core --test simulated");
    let mut world = World::new(seed, format!("seed {seed}"), rerun);
    // Drawn apart, so that what a seed stood for before stays as it was but for these.
    let mut apart = random.fork(8);
    let mood = Mood {
        harsh: random.chance(0.15),
        crashes: random.chance(0.12),
        cuts: random.chance(0.25),
        sleeps: random.chance(0.1),
        leaps: random.chance(0.1),
        narrows: random.chance(0.15),
        injections: random.chance(0.2),
        steps_back: apart.chance(0.1),
        forged_icmp: apart.chance(0.1),
    };
    world.harsh = mood.may_kill();

    let addresses = if random.chance(0.5) { 1 } else { random.within(1..=3) };
    let families: Vec<bool> = (0..addresses).map(|_| random.chance(0.7)).collect();
    let nodes = if random.chance(0.8) { 2 } else { random.within(2..=4) } as usize;
    for node in 0..nodes {
        let addresses = families.iter().enumerate().map(|(index, v4)| address(node, index, *v4)).collect();
        let max_packet = *random.pick(&[1480, 1480, 1480, 1460, 1232, 8960]);
        let buffer_memory = *random.pick(&[256 << 20, 50_000, 0]);
        world.node_with(EndpointConfig { addresses, max_packet, buffer_memory, ..EndpointConfig::default() });
    }
    // Every address reaches every other, or each only those in its own network.
    let apart = random.chance(0.4);
    for a in 0..nodes {
        for b in a + 1..nodes {
            match apart {
                true => world.networks(a, b, &LinkConfig::default()),
                false => world.mesh(a, b, &LinkConfig::default()),
            }
        }
    }
    let character = LinkCharacter::draw(&mut random, mood.harsh);
    // Paths may be as different as can be, and so may the two directions of one.
    let alike = random.chance(0.7);
    for (_, _, config) in world.network.configs() {
        let own = if alike { character } else { LinkCharacter::draw(&mut random, mood.harsh) };
        *config = own.link(&mut random);
        config.mtu = character.mtu;
        if mood.narrows {
            config.mtu = *random.pick(&[1280, 1300, 1400, 1500]);
            config.tells_mtu = *random.pick(&[0.0, 0.5, 1.0]);
        }
    }

    let conversations = if random.chance(0.7) { 1 } else { random.within(2..=4) } as usize;
    for index in 0..conversations {
        let (client, server) = if random.chance(0.5) { (0, 1) } else { ((1 + index) % nodes, 0) };
        let (client, server) = if client == server { (1, 0) } else { (client, server) };
        // Both ends have the same timers: one that gives up within seconds cannot wait for one that tries again once a minute.
        let drawn = *random.pick(&Profile::ALL);
        let profile = profile.unwrap_or(drawn).config();
        let conversation = Conversation {
            client,
            server,
            client_port: 40_000 + index as u16,
            server_port: 5000 + index as u16,
            client_plan: plan(&mut random, &profile, &mood),
            server_plan: plan(&mut random, &profile, &mood),
        };
        add(&mut world, conversation, &mut random);
    }
    trouble(&mut world, &mood, &mut random);
    world
}

/// Runs a world to its end.
pub(crate) fn run(world: &mut World) {
    let over = |world: &World| !world.sides.is_empty() && world.sides.iter().all(super::app::Side::is_over);
    let begun = world.conversations.len();
    let patience = if world.harsh { HARSH_PATIENCE } else { PATIENCE };
    let done = world.run_while(patience, |world| world.sides.len() >= begun && over(world));
    if !done && !world.harsh {
        let open = world.sides.iter().enumerate().find(|(_, side)| !side.is_over());
        let what = match open {
            Some((index, side)) => format!("side {index} is {:?}, {} messages sent", side.phase, side.sent),
            None => "not all conversations have begun".to_owned(),
        };
        world.fail(Violation { rule: "conversations end by themselves", what });
    }
    world.finish();
}

fn address(node: usize, index: usize, v4: bool) -> IpAddr {
    let (node, index) = (node as u8, index as u8);
    match v4 {
        true => Ipv4Addr::new(10, index, 0, node + 1).into(),
        false => Ipv6Addr::new(0xfd00, index.into(), 0, 0, 0, 0, 0, u16::from(node) + 1).into(),
    }
}

/// What the links of a world have in common.
#[derive(Clone, Copy)]
struct LinkCharacter {
    delay: u64,
    jitter: u64,
    rate: Option<u64>,
    queue: usize,
    loss: Loss,
    duplicate: f64,
    reorder: f64,
    corrupt: f64,
    mark_anyway: f64,
    mtu: usize,
}

impl LinkCharacter {
    fn draw(random: &mut Random, harsh: bool) -> Self {
        let delay = *random.pick(&[20, 100, 1000, 5000, 20_000, 80_000]);
        let worst = if harsh { 0.6 } else { 0.2 };
        let loss = match random.below(10) {
            0..4 => Loss::None,
            4..8 => Loss::Uniform(random.fraction() * worst),
            _ => Loss::Burst { enter: 0.02, leave: 0.2, loss: if harsh { 0.9 } else { 0.6 } },
        };
        let sometimes =
            |random: &mut Random, most: f64| if random.chance(0.3) { random.fraction() * most } else { 0.0 };
        Self {
            delay,
            jitter: if random.chance(0.4) { random.below(delay) } else { 0 },
            rate: random.chance(0.3).then(|| *random.pick(&[256_000, 2_000_000, 20_000_000, 1_000_000_000])),
            queue: *random.pick(&[20, 50, 200]) * 1500,
            loss,
            duplicate: sometimes(random, 0.2),
            reorder: sometimes(random, 0.3),
            corrupt: sometimes(random, 0.05),
            mark_anyway: sometimes(random, 0.3),
            mtu: if random.chance(0.8) { 1500 } else { 9000 },
        }
    }

    fn link(&self, random: &mut Random) -> LinkConfig {
        let micros = |micros: u64| Duration::from_micros(micros);
        let delay = random.within(self.delay / 2..=self.delay * 2);
        LinkConfig {
            delay: micros(delay),
            jitter: micros(self.jitter),
            rate: self.rate,
            queue: self.queue,
            mark: random.chance(0.5).then_some(self.queue / 4),
            loss: self.loss,
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_by: micros(random.within(1..=4) * delay),
            corrupt: self.corrupt,
            mark_anyway: self.mark_anyway,
            mtu: self.mtu,
            tells_mtu: 0.0,
            cuts: Vec::new(),
        }
    }
}

fn plan(random: &mut Random, profile: &AssociationConfig, mood: &Mood) -> Plan {
    let config = settings(random, profile, mood);
    let longest = if random.chance(0.7) { 20_000 } else { config.max_message_size };
    let messages = if random.chance(0.15) { 0 } else { random.within(1..=120) as u32 };
    let sizes = if random.chance(0.7) { Sizes::Mixed(longest) } else { Sizes::Fixed(random.within(1..=3000) as usize) };
    let latest = if random.chance(0.8) { 3000 } else { 100_000 };
    let after = random.millis(0..=latest);
    let ending = match random.below(10) {
        0..6 => Ending::ShutdownWhenSent(if random.chance(0.5) { Duration::ZERO } else { after }),
        6..8 => Ending::ShutdownAfter(after),
        8 => Ending::AbortAfter(after),
        _ => Ending::Wait,
    };
    let reading = match random.below(10) {
        0..7 => Reading::Eager,
        _ => Reading::Paced { every: random.millis(1..=300), messages: random.within(1..=10) as u32 },
    };
    Plan {
        messages: if mood.harsh { messages / 3 } else { messages },
        sizes,
        streams: random.within(1..=20) as u16,
        unordered: if random.chance(0.3) { random.fraction() } else { 0.0 },
        immediate: if random.chance(0.2) { random.fraction() } else { 0.0 },
        addressed: messages % 3 == 1,
        burst: random.within(1..=20) as u32,
        pause: if random.chance(0.3) { Duration::ZERO } else { random.millis(0..=500) },
        early: random.chance(0.3),
        all_addresses: random.chance(0.5),
        reading,
        ending,
        config,
    }
}

fn settings(random: &mut Random, profile: &AssociationConfig, mood: &Mood) -> AssociationConfig {
    let mortal = mood.may_kill();
    let mut config = profile.clone();
    if !mortal {
        // A network that gets everything through in the end must not be given up.
        config.association_max_retransmits = 10_000;
        config.max_init_retransmits = 10_000;
        config.shutdown_guard = Some(LONGEST_LEAP * 10);
    }
    if random.chance(0.5) {
        config.receive_buffer = random.within(5000..=100_000) as usize;
        config.max_message_size = config.receive_buffer / 4 * 3;
        // (Nothing is drawn for it, so that seeds keep their meaning.)
        if config.receive_buffer.is_multiple_of(3) {
            config.partial_delivery_point = Some(config.receive_buffer / 24 * (1 + config.receive_buffer % 17));
            config.max_message_size = (config.receive_buffer * 4).min(LONGEST);
        }
        config.send_buffer = random.within(1..=100_000) as usize;
        config.outbound_streams = random.within(1..=40) as u16;
        config.max_inbound_streams = random.within(1..=40) as u16;
        config.sack_every = random.within(1..=4) as u8;
        config.sack_early = random.chance(0.5);
        config.nagle = random.chance(0.2);
        config.ecn = random.chance(0.5);
        config.pacing = random.chance(0.2).then_some(125);
        if random.chance(0.3) {
            config.congestion = CongestionAlgorithm::Cubic;
        }
        config.max_receive_buffer = random.within(0..=200_000) as usize;
        config.max_send_buffer = random.within(0..=200_000) as usize;
        config.scheduler = *random.pick(&[StreamScheduler::FirstCome, StreamScheduler::RoundRobin]);
        config.max_burst = random.within(1..=8) as u32;
        config.path_mtu = *random.pick(&[576, 800, 1280, 1500]);
        config.max_path_mtu = random.chance(0.3).then(|| *random.pick(&[1500, 9000]));
        // Who does not look for the PMTU must be right about it.
        config.path_mtu_discovery = mood.narrows || random.chance(0.8);
        config.potentially_failed_max_retransmits = random.chance(0.5).then(|| random.below(3) as u32);
        if random.chance(0.3) {
            let least = config.potentially_failed_max_retransmits.unwrap_or(config.path_max_retransmits);
            config.primary_switchover_max_retransmits = Some(least + random.below(3) as u32);
        }
        config.expose_potentially_failed = random.chance(0.5);
        config.heartbeat_max_burst = random.within(1..=4) as u32;
        config.notify_sender_dry = random.chance(0.3);
        config.max_gaps = random.within(1..=100) as usize;
        config.max_outstanding = random.within(1..=300) as usize;
        config.max_partial_messages = random.within(1..=20) as usize;
        match random.below(10) {
            0..5 => config.heartbeat_interval = Some(random.millis(100..=5000)),
            // Without heartbeats nobody notices that an idle peer has crashed.
            5 if !mortal => config.heartbeat_interval = None,
            _ => {}
        }
    }
    config
}

fn add(world: &mut World, mut conversation: Conversation, random: &mut Random) {
    // What one side may send the other must be ready to take.
    let longest = [&conversation.client_plan, &conversation.server_plan].map(|plan| plan.config.max_message_size);
    bound(&mut conversation.client_plan, longest[0].min(longest[1]));
    bound(&mut conversation.server_plan, longest[0].min(longest[1]));
    if conversation.client_plan.ending == Ending::Wait && conversation.server_plan.ending == Ending::Wait {
        conversation.client_plan.ending = Ending::ShutdownWhenSent(Duration::ZERO);
    }
    let plans = [&mut conversation.client_plan, &mut conversation.server_plan];
    if plans.iter().any(|plan| matches!(plan.ending, Ending::AbortAfter(_))) {
        // The ABORT may be lost: who sends nothing, not even a HEARTBEAT, would never learn of the end.
        for plan in plans {
            plan.config.heartbeat_interval.get_or_insert(Duration::from_secs(30));
        }
    }
    let simultaneous = random.chance(0.1);
    if simultaneous {
        // Who gives up an attempt that the other's attempt has met answers the other's packets as a stranger.
        conversation.client_plan.early = false;
        conversation.server_plan.early = false;
    }
    let index = world.converse(conversation);
    let start = world.now + random.millis(0..=50);
    world.schedule(start, Deed::Connect(index));
    if simultaneous {
        world.schedule(start + random.millis(0..=30), Deed::ConnectBack(index));
    }
}

/// Sends no longer messages than this.
fn bound(plan: &mut Plan, most: usize) {
    plan.sizes = match plan.sizes {
        Sizes::Fixed(size) => Sizes::Fixed(size.min(most)),
        Sizes::Mixed(size) => Sizes::Mixed(size.min(most)),
    };
}

/// Puts the troubles on the agenda.
fn trouble(world: &mut World, mood: &Mood, random: &mut Random) {
    let start = world.now;
    let nodes = world.nodes.len() as u64;
    if mood.cuts {
        let longest = if mood.harsh { 120_000 } else { 20_000 };
        let pairs: Vec<_> = world.network.configs().map(|(source, destination, _)| (source, destination)).collect();
        for _ in 0..random.within(1..=3) {
            let (source, destination) = *random.pick(&pairs);
            let from = start + random.millis(0..=5000);
            let cut = (from, from + random.millis(1..=longest));
            world.network.config(source, destination).cuts.push(cut);
            if random.chance(0.5) {
                world.network.config(destination, source).cuts.push(cut);
            }
        }
    }
    if mood.crashes {
        // Mostly a client: it comes back from the same port, and its server may still believe in the old association.
        let at = start + random.millis(1..=4000);
        let client = world.conversations[0].client;
        let victim = if random.chance(0.7) { client } else { random.below(nodes) as usize };
        world.schedule(at, Deed::Crash(victim));
        let pause = if random.chance(0.5) { 10 } else { 2000 };
        for conversation in 0..world.conversations.len() {
            if random.chance(0.8) {
                world.schedule(at + random.millis(0..=pause), Deed::Connect(conversation));
            }
        }
    }
    if mood.sleeps {
        let at = start + random.millis(1..=3000);
        world.schedule(at, Deed::Sleep(random.below(nodes) as usize, random.millis(1..=2000)));
    }
    if mood.leaps {
        for _ in 0..random.within(1..=3) {
            let node = random.below(nodes) as usize;
            let by = *random.pick(&[1000, 60_000, 3_600_000, LONGEST_LEAP.as_millis() as u64]);
            world.schedule(start + random.millis(0..=5000), Deed::Leap(node, random.millis(1..=by)));
        }
    }
    if mood.injections {
        for _ in 0..random.within(1..=100) {
            let victim = random.below(nodes) as usize;
            let pretended = (victim + random.within(1..=nodes - 1) as usize) % nodes as usize;
            world.schedule(start + random.millis(0..=3000), Deed::Inject(victim, pretended));
        }
    }
    let mut random = random.fork(9);
    if mood.steps_back {
        let node = random.below(nodes) as usize;
        world.schedule(start, Deed::Leap(node, random.millis(1..=100)));
        for _ in 0..random.within(1..=20) {
            let by = random.duration(Duration::from_micros(1)..=Duration::from_millis(20));
            world.schedule(start + random.millis(0..=3000), Deed::StepBack(node, by));
        }
    }
    if mood.forged_icmp {
        for _ in 0..random.within(1..=100) {
            let victim = random.below(nodes) as usize;
            let quoted_to = (victim + random.within(1..=nodes - 1) as usize) % nodes as usize;
            let knows_tag = random.chance(0.5);
            world.schedule(start + random.millis(0..=3000), Deed::ForgeIcmp { victim, quoted_to, knows_tag });
        }
    }
}
