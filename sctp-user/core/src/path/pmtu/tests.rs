use super::*;

const NONCE: u64 = 7;

const RAISE: Duration = Duration::from_secs(600);

/// A path that carries packets up to `carries`, and a discovery on it.
struct Wire {
    discovery: Discovery,
    plpmtu: u16,
    bounds: Bounds,
    carries: u16,
    /// Whether the router that drops a packet says so.
    tells: bool,
    now: Instant,
    probes: Vec<u16>,
}

impl Wire {
    fn new(plpmtu: u16, max: u16, carries: u16) -> Self {
        let bounds = Bounds::new(true, max, RAISE);
        let now = Instant::from_millis(1000);
        Self { discovery: Discovery::Disabled, plpmtu, bounds, carries, tells: false, now, probes: Vec::new() }
    }

    fn start(&mut self) {
        self.discovery.start(self.plpmtu, self.bounds, self.now);
    }

    fn black_hole(&mut self) {
        self.plpmtu = self.discovery.black_hole(self.plpmtu, self.bounds, self.now);
    }

    /// Lets timers expire and answers probes until there is nothing to do before `until`.
    fn run(&mut self, until: Instant) {
        while let Some(timer) = self.discovery.timer().filter(|timer| *timer <= until) {
            self.now = self.now.max(timer);
            match self.discovery.expired(self.plpmtu, self.bounds, self.now) {
                Due::Nothing => {}
                Due::Lower(plpmtu) => self.plpmtu = plpmtu,
                Due::Probe(size) => {
                    self.probes.push(size);
                    self.discovery.prepare(NONCE, self.now);
                    assert!(!self.discovery.is_probe(NONCE), "it is not sent yet");
                    assert_eq!(self.discovery.probe_sent(self.now, Duration::from_secs(1)), Some(NONCE));
                    assert!(self.discovery.is_probe(NONCE));
                    if size <= self.carries {
                        self.plpmtu = self.discovery.acknowledged(self.plpmtu, self.bounds, self.now);
                    } else if self.tells {
                        self.plpmtu = self.discovery.packet_too_big(self.carries, self.plpmtu, self.bounds, self.now);
                    }
                }
            }
        }
    }

    fn settle(&mut self) {
        let until = self.now + Duration::from_secs(599);
        self.run(until);
    }
}

#[test]
fn an_ordinary_path_is_not_probed() {
    let mut wire = Wire::new(1500, 1500, 1500);
    wire.start();
    assert!(matches!(wire.discovery, Discovery::SearchComplete { raise: None }));
    wire.settle();
    assert_eq!((wire.plpmtu, wire.probes.len()), (1500, 0));
}

#[test]
fn the_largest_size_is_tried_first() {
    let mut wire = Wire::new(1500, 9000, 9000);
    wire.start();
    wire.settle();
    assert_eq!((wire.plpmtu, &wire.probes[..]), (9000, &[9000][..]));
    assert!(matches!(wire.discovery, Discovery::SearchComplete { raise: None }));
}

/// RFC 8899 §5.3.1: MAX_PROBES that are lost end the search; the raise timer begins it anew.
#[test]
fn a_search_that_finds_nothing_ends_and_is_repeated() {
    let mut wire = Wire::new(1500, 9000, 1500);
    wire.start();
    wire.settle();
    assert_eq!(wire.plpmtu, 1500);
    assert_eq!(wire.probes.len(), 3);
    assert_eq!(wire.probes[0], 9000);
    assert!(wire.probes.is_sorted_by(|one, other| one > other), "{:?}", wire.probes);
    assert!(matches!(wire.discovery, Discovery::SearchComplete { raise: Some(_) }));
    wire.carries = 9000;
    let until = wire.now + RAISE;
    wire.run(until);
    assert_eq!(wire.plpmtu, 9000);
}

/// PMTU_RAISE_TIMER is as long as it is wanted: a path that has been narrow for a while is used to the full again.
#[test]
fn a_path_that_widens_is_noticed_when_the_raise_timer_says() {
    let mut wire = Wire { tells: true, ..Wire::new(1500, 1500, 1300) };
    wire.bounds.raise = Duration::from_secs(2);
    wire.plpmtu = wire.discovery.packet_too_big(1300, 1500, wire.bounds, wire.now);
    let narrow = wire.now + Duration::from_secs(9);
    wire.run(narrow);
    // The size that a router has told, then the largest at each expiry: 2 s, 4 s, 6 s, 8 s.
    assert_eq!((wire.plpmtu, &wire.probes[..]), (1300, &[1200, 1300, 1500, 1500, 1500, 1500][..]));
    wire.carries = 1500;
    wire.run(narrow + Duration::from_secs(2));
    assert_eq!(wire.plpmtu, 1500);
    assert!(matches!(wire.discovery, Discovery::SearchComplete { raise: None }));
}

/// Whatever a path carries, a search ends, never above that, and not far below: 3 lost probes in a row may stop it early.
#[test]
fn searches_end_near_what_the_path_carries() {
    for carries in 1200..=9100 {
        let mut wire = Wire::new(1200, 9100, carries);
        wire.start();
        wire.settle();
        assert!(wire.plpmtu <= carries, "{carries}: {}", wire.plpmtu);
        let complete = matches!(wire.discovery, Discovery::SearchComplete { .. });
        assert!(complete && wire.probes.len() <= 12, "{carries}: {:?}", wire.probes);
        // With a router that tells, it is exact, and takes two probes or three.
        let mut wire = Wire { tells: true, ..Wire::new(1200, 9100, carries) };
        wire.start();
        wire.settle();
        assert!(wire.plpmtu == carries && wire.probes.len() <= 2, "{carries}: {} {:?}", wire.plpmtu, wire.probes);
    }
}

/// RFC 8899 §4.3, §5.2: black hole, BASE, SEARCHING below what got lost.
#[test]
fn a_black_hole_leads_back_to_the_base() {
    let mut wire = Wire::new(1500, 1500, 1400);
    wire.start();
    wire.black_hole();
    assert_eq!(wire.plpmtu, 1200);
    assert!(matches!(wire.discovery, Discovery::Base { ceiling: 1499, .. }));
    wire.settle();
    assert_eq!(wire.plpmtu, 1400);
    assert_eq!(wire.probes[..2], [1200, 1499]);
}

/// BASE_PLPMTU does not get through either: ERROR, with MIN_PLPMTU, until it does.
#[test]
fn error_until_the_base_works() {
    let mut wire = Wire::new(1500, 1500, 1000);
    wire.start();
    wire.black_hole();
    wire.settle();
    assert_eq!(wire.plpmtu, 576);
    assert!(matches!(wire.discovery, Discovery::Error { .. }));
    wire.carries = 1500;
    wire.settle();
    assert_eq!(wire.plpmtu, 1500);
}

#[test]
fn a_black_hole_at_the_base_is_an_error() {
    let mut wire = Wire::new(1200, 1500, 1000);
    wire.black_hole();
    assert_eq!(wire.plpmtu, 576);
    assert!(matches!(wire.discovery, Discovery::Error { .. }));
}

/// RFC 8899 §4.6.2, a row each: state, PL_PTB_SIZE, PLPMTU and state that follow.
#[test]
fn packet_too_big_by_size() {
    type State = fn(&Discovery) -> bool;
    let base: State = |state| matches!(state, Discovery::Base { .. });
    let searching: State = |state| matches!(state, Discovery::Searching { .. });
    let complete: State = |state| matches!(state, Discovery::SearchComplete { .. });
    let error: State = |state| matches!(state, Discovery::Error { .. });
    let disabled: State = Discovery::is_disabled;
    // (whether it searches: PROBED_SIZE 9000), PLPMTU 1500
    for (searches, size, plpmtu, state) in [
        (true, 575, 1500, searching),
        (true, 576, 576, error),
        (true, 1199, 576, error),
        (true, 1200, 1200, base),
        (true, 1499, 1200, base),
        (true, 1500, 1500, complete),
        (true, 1501, 1500, searching),
        (true, 8999, 1500, searching),
        (true, 9000, 1500, searching),
        (true, 65_535, 1500, searching),
        (false, 0, 1500, disabled),
        (false, 1400, 1200, base),
        (false, 1500, 1500, disabled),
        (false, 9000, 1500, disabled),
    ] {
        let mut wire = Wire::new(1500, 9000, 1500);
        if searches {
            wire.start();
        }
        let now = wire.now;
        assert_eq!(wire.discovery.packet_too_big(size, 1500, wire.bounds, now), plpmtu, "{size}");
        assert!(state(&wire.discovery), "{size}: {:?}", wire.discovery);
    }
}

#[test]
fn a_message_between_is_the_next_search_point() {
    let mut wire = Wire { tells: true, ..Wire::new(1500, 9000, 4000) };
    wire.start();
    wire.settle();
    assert_eq!((wire.plpmtu, &wire.probes[..]), (4000, &[9000, 4000][..]));
}

#[test]
fn bounds_of_either_family() {
    assert_eq!(Bounds::new(true, 1500, RAISE), Bounds { min: 576, base: 1200, max: 1500, raise: RAISE });
    assert_eq!(Bounds::new(true, 800, RAISE), Bounds { min: 576, base: 800, max: 800, raise: RAISE });
    assert_eq!(Bounds::new(false, 1500, RAISE), Bounds { min: 1280, base: 1280, max: 1500, raise: RAISE });
    assert_eq!(Bounds::new(false, 800, RAISE), Bounds { min: 1280, base: 1280, max: 1280, raise: RAISE });
}

#[test]
fn a_black_hole_takes_large_packets_only() {
    let mut large = LargePackets::default();
    assert!((0..10).all(|_| !large.timed_out(false)), "small ones that get lost are no black hole");
    large.last = true;
    // Bundles: anything that is acknowledged shows that they get through.
    assert_eq!([large.timed_out(false), large.timed_out(false)], [false; 2]);
    large.acknowledged(false);
    assert_eq!([large.timed_out(false), large.timed_out(false), large.timed_out(false)], [false, false, true]);
    // Large chunks: what is acknowledged in small packets between them does not.
    assert_eq!([large.timed_out(true), large.timed_out(true)], [false; 2]);
    large.acknowledged(false);
    assert!(large.timed_out(true));
    assert_eq!([large.timed_out(true), large.timed_out(true)], [false; 2]);
    large.acknowledged(true);
    assert!(!large.timed_out(true));
}
