//! Random worlds: everything that can be drawn is drawn from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sctp_core::time::Instant;
use sctp_core::{AssociationConfig, StreamScheduler};

use crate::network::Link;
use crate::world::{Checked, Planned, Setup, World, ensure};

/// How many seeds `cargo test` runs, unless SCTP_SIM_SEEDS says otherwise.
const SEEDS: u64 = 300;

#[test]
fn seeds() {
    #[expect(clippy::disallowed_methods, reason = "a test may be told how much to do")]
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SCTP_SIM_SEED") {
        run(seed, true).unwrap();
        return;
    }
    let count = number("SCTP_SIM_SEEDS").unwrap_or(SEEDS);
    let failed: Vec<String> =
        (0..count).filter_map(|seed| run(seed, false).err().map(|error| format!("  seed {seed}: {error}"))).collect();
    assert!(failed.is_empty(), "SCTP_SIM_SEED=<seed> shows every packet of one.\n{}", failed.join("\n"));
}

fn run(seed: u64, trace: bool) -> Checked {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut setup = draw_setup(seed, &mut rng);
    setup.trace = trace;
    let mut world = World::new(setup);
    world.connect(0);
    if world.setup.listens[0] && rng.random_bool(0.7) {
        // Both at about the same time.
        let wait = Duration::from_micros(rng.random_range(0..30_000));
        world.run_until(wait, |world| world.hosts[1].association.is_some())?;
        if world.hosts[1].association.is_none() {
            world.connect(1);
        }
    }
    let streams = world.setup.config[0].outbound_streams.min(world.setup.config[1].outbound_streams);
    let end = world.now + Duration::from_millis(rng.random_range(1..3_000));
    for host in 0..2 {
        let budget = *[0, 2_000, 30_000, 120_000].get(rng.random_range(0..4)).unwrap_or(&0);
        world.hosts[host].app.planned = draw_plan(budget, streams, world.now, end, &mut rng).into();
        if rng.random_bool(0.2) {
            world.hosts[host].app.reading_pause = Some(Duration::from_millis(rng.random_range(1..60)));
        }
    }
    let limit = Duration::from_secs(3600);
    let delivered = world.run_until(limit, |world| world.all_delivered() && world.all_established())?;
    ensure(delivered, || format!("not delivered within {limit:?}: {}", stuck(&world)))?;
    if rng.random_bool(0.3) {
        world.run_for(Duration::from_millis(rng.random_range(0..100_000)))?;
    }
    let first = rng.random_range(0..2);
    if rng.random_bool(0.3) {
        world.shutdown(1 - first);
    }
    world.end_in_order(first, limit)
}

fn draw_setup(seed: u64, rng: &mut StdRng) -> Setup {
    let quiet = rng.random_bool(0.15);
    let links = (0..rng.random_range(1..=3)).map(|link| draw_link(quiet, link, rng)).collect();
    let config = [(); 2].map(|()| draw_config(rng));
    Setup {
        ipv6: rng.random_bool(0.5),
        links,
        config,
        listens: [rng.random_bool(0.3), true],
        connect_to_one: rng.random_bool(0.5),
        ..Setup::new(seed)
    }
}

fn draw_link(quiet: bool, link: usize, rng: &mut StdRng) -> Link {
    let delay = Duration::from_micros(rng.random_range(10..80_000));
    if quiet {
        return Link { delay, ..Link::default() };
    }
    // Links but the first may be away for a while; the first too, if it comes back soon.
    let cuts = (0..rng.random_range(0..3))
        .map(|_| {
            let from = Instant::from_millis(rng.random_range(0..4_000));
            let longest = if link == 0 { 3_000 } else { 20_000 };
            (from, from + Duration::from_millis(rng.random_range(1..longest)))
        })
        .collect();
    Link {
        delay,
        jitter: delay.mul_f64(*[0.0, 0.1, 2.0].get(rng.random_range(0..3)).unwrap_or(&0.0)),
        loss: *[0.0, 0.01, 0.05, 0.2].get(rng.random_range(0..4)).unwrap_or(&0.0),
        duplication: *[0.0, 0.02, 0.2].get(rng.random_range(0..3)).unwrap_or(&0.0),
        corruption: *[0.0, 0.02].get(rng.random_range(0..2)).unwrap_or(&0.0),
        rate: rng.random_bool(0.3).then(|| rng.random_range(20_000..5_000_000)),
        max_queueing: Duration::from_millis(rng.random_range(5..300)),
        cuts,
    }
}

fn draw_config(rng: &mut StdRng) -> AssociationConfig {
    let profile = match rng.random_range(0..4) {
        0 => AssociationConfig::rfc(),
        1 => AssociationConfig::signalling(),
        2 => AssociationConfig::ran(),
        _ => AssociationConfig::default(),
    };
    let receive_buffer = *[1 << 20, 100_000, 40_000].get(rng.random_range(0..3)).unwrap_or(&(1 << 20));
    AssociationConfig {
        // Losses are no reason to give up here: what ends must end in order.
        association_max_retransmits: 10_000,
        max_init_retransmits: 10_000,
        shutdown_guard: Some(Duration::from_secs(100_000)),
        receive_buffer,
        max_message_size: receive_buffer.min(64_000) / 2,
        send_buffer: *[1 << 20, 20_000].get(rng.random_range(0..2)).unwrap_or(&(1 << 20)),
        outbound_streams: *[1, 5, 40].get(rng.random_range(0..3)).unwrap_or(&1),
        max_inbound_streams: *[2048, 3].get(rng.random_range(0..2)).unwrap_or(&2048),
        sack_early: rng.random_bool(0.5),
        nagle: rng.random_bool(0.2),
        scheduler: if rng.random_bool(0.5) { StreamScheduler::FirstCome } else { StreamScheduler::RoundRobin },
        max_gaps: *[256, 4].get(rng.random_range(0..2)).unwrap_or(&256),
        max_outstanding: *[16_384, 20].get(rng.random_range(0..2)).unwrap_or(&20),
        max_partial_messages: *[1024, 2].get(rng.random_range(0..2)).unwrap_or(&2),
        path_mtu: *[1500, 1500, 1280, 576].get(rng.random_range(0..4)).unwrap_or(&1500),
        heartbeat_interval: rng.random_bool(0.9).then(|| Duration::from_millis(rng.random_range(100..5_000))),
        ..profile
    }
}

fn draw_plan(mut budget: usize, streams: u16, start: Instant, end: Instant, rng: &mut StdRng) -> Vec<Planned> {
    // Streams that the other grants may be three; the plan must keep to what exists in the end.
    let streams = streams.min(3);
    let sizes = *[20, 200, 1_400, 20_000].get(rng.random_range(0..4)).unwrap_or(&20);
    let burst = rng.random_bool(0.5);
    let mut plan = Vec::new();
    while budget > 0 && plan.len() < 600 {
        let len = rng.random_range(1..=sizes).min(budget);
        budget -= len;
        let at = if burst { start } else { start + (end - start).mul_f64(rng.random()) };
        plan.push(Planned { at, stream: rng.random_range(0..streams), len, unordered: rng.random_bool(0.2) });
    }
    plan.sort_by_key(|planned| planned.at);
    plan
}

fn stuck(world: &World) -> String {
    let state = |host: usize| match &world.hosts[host] {
        host if host.app.closed.is_some() => format!("closed by {:?}", host.app.closed),
        host => match host.association.and_then(|id| host.endpoint.association(id)) {
            Some(association) => format!(
                "{:?}, {} to send, {} outstanding, {} in flight, window {}, holding {}",
                association.state(),
                association.send_buffer_used(),
                association.outstanding_chunks(),
                association.data_in_flight(),
                association.peer_window(),
                association.receive_buffer_used(),
            ),
            None => "no association".to_owned(),
        },
    };
    format!("host 0 {}; host 1 {}", state(0), state(1))
}
