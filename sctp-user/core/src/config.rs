//! What can be set, with defaults that are meant to be left alone.
//!
//! Every limit that keeps a peer from making us allocate is here too; a limit that is hit is counted or reported, never
//! silent.

use core::net::IpAddr;
use core::num::NonZeroU16;
use core::ops::RangeInclusive;
use core::time::Duration;

use sctp_common::cookie::{self, CookieSecret};
use sctp_common::init::Offer;
use sctp_common::steering::Steering;

use crate::error::ConfigError;

/// Settings of an [`Endpoint`](crate::Endpoint), common to all its associations.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Our own addresses. Associations use them all unless [`Connect::local_addresses`] says less; they are announced to
    /// peers (RFC 9260 §5.1.2) and can be changed later for associations to come. Empty: every destination address of a
    /// packet is taken for ours and nothing is announced, which is right for a host with one address.
    pub addresses: Vec<IpAddr>,
    /// Our UDP encapsulation port: the source port of packets that go in UDP, and the destination port of those that come in UDP (RFC 6951
    /// §5.1, §5.3). `None`, the default, if packets come and go directly over IP only.
    pub udp_port: Option<NonZeroU16>,
    /// How verification tags name the worker that owns an association; `None` when there is one worker only.
    pub steering: Option<WorkerSteering>,
    /// Ports that [`Connect::local_port`]` = None` picks from.
    pub ephemeral_ports: RangeInclusive<u16>,
    /// Most associations at a time, those being set up by us included. A COOKIE ECHO beyond it is answered with an ABORT
    /// (Out of Resource). Default 1 000 000.
    pub max_associations: usize,
    /// Largest SCTP packet in bytes, common header included and lower headers not, that is ever written. Default 1480, an
    /// IPv4 packet of 1500 bytes; the buffers given to `poll_transmit` must have as much.
    pub max_packet: usize,
    /// Leave the checksum field zero in what `poll_transmit` writes, because something below fills it in. Default false.
    pub checksum_offload: bool,
    /// The secret that State Cookies are signed with. All endpoints of a stack must have the same, and the same origin of time,
    /// so that a COOKIE ECHO is understood wherever it comes in. `None` draws one from the endpoint's seed, for endpoints that
    /// are alone.
    pub cookie_secret: Option<CookieSecret>,
    /// How long a State Cookie is good ("Valid.Cookie.Life", RFC 9260 §16). A peer that asks for more (Cookie Preservative, §3.3.2.1.3)
    /// gets at most as much again. Default 60 s.
    pub cookie_lifetime: Duration,
    /// How long a key for State Cookies is used. It stays good for one more period, so it is taken as at least twice
    /// [`cookie_lifetime`](Self::cookie_lifetime). Default 10 min.
    pub cookie_key_lifetime: Duration,
    /// Most associations that have ended and whose State Cookies are remembered while they are fresh, so that a copy of a COOKIE
    /// ECHO does not revive one. Beyond it the oldest are forgotten. Default 65 536, which take 4 MiB at most.
    pub max_spent_cookies: usize,
    /// What is done about packets that belong to no association (RFC 9260 §8.4).
    pub out_of_the_blue: OutOfTheBluePolicy,
    /// Most answers without an association (INIT ACK, ABORT …) that wait for `poll_transmit`; more are not sent, and counted.
    /// Default 1024.
    pub max_pending_answers: usize,
    /// Bytes by which the receive and send buffers of all associations together may grow beyond what each begins with
    /// ([`AssociationConfig::max_receive_buffer`], [`AssociationConfig::max_send_buffer`]). Who asks first gets it; it comes back when
    /// the association ends. Default 256 MiB.
    pub buffer_memory: usize,
    /// Most events that wait for `poll_event`. Only those that a peer could provoke without end ([`Event::RemoteError`],
    /// [`Event::PathChanged`]) are dropped beyond it. Default 65 536.
    ///
    /// [`Event::RemoteError`]: crate::Event::RemoteError
    /// [`Event::PathChanged`]: crate::Event::PathChanged
    pub max_pending_events: usize,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            udp_port: None,
            steering: None,
            ephemeral_ports: 49152..=65535,
            max_associations: 1_000_000,
            max_packet: 1480,
            checksum_offload: false,
            cookie_secret: None,
            cookie_lifetime: Duration::from_secs(60),
            cookie_key_lifetime: Duration::from_secs(600),
            max_spent_cookies: 65_536,
            out_of_the_blue: OutOfTheBluePolicy::Answer,
            max_pending_answers: 1024,
            buffer_memory: 256 << 20,
            max_pending_events: 65_536,
        }
    }
}

impl EndpointConfig {
    /// For how long a key for State Cookies is used: [`cookie_key_lifetime`](Self::cookie_key_lifetime), or as long as the longest-lived
    /// cookie, for its key to be known still when it comes back.
    #[must_use]
    pub fn cookie_epoch(&self) -> Duration {
        self.cookie_key_lifetime.max(self.cookie_lifetime * 2)
    }
}

/// The worker that an endpoint runs on, and how tags are mapped to workers.
#[derive(Clone, Copy, Debug)]
pub struct WorkerSteering {
    /// The keyed hash that every worker and the XDP program share.
    pub steering: Steering,
    /// This endpoint's worker; below `steering.workers`. Local verification tags are drawn so that they map to it.
    pub worker: u16,
}

/// What is done about packets that belong to no association (RFC 9260 §8.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfTheBluePolicy {
    /// Answer as the RFC says: ABORT, or SHUTDOWN COMPLETE to a SHUTDOWN ACK.
    #[default]
    Answer,
    /// Stay silent. For hosts where another SCTP stack may own the packet.
    Discard,
}

/// Settings of a port that accepts associations.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Settings of the associations that are accepted.
    pub association: AssociationConfig,
    /// Most associations that this port accepts at a time. Default: no limit but the endpoint's.
    pub max_associations: usize,
}

impl Default for ListenConfig {
    fn default() -> Self {
        Self { association: AssociationConfig::default(), max_associations: usize::MAX }
    }
}

/// What [`Endpoint::connect`](crate::Endpoint::connect) needs to know (RFC 9260 §11.1.2).
#[derive(Clone, Debug)]
pub struct Connect {
    /// Our port; `None` picks one from [`EndpointConfig::ephemeral_ports`]. With steering, workers pick from disjoint
    /// sets.
    pub local_port: Option<u16>,
    /// Our addresses to use and announce; empty means all of the endpoint's.
    pub local_addresses: Vec<IpAddr>,
    /// The peer's port.
    pub peer_port: u16,
    /// The peer's addresses, at least one. The first becomes the primary path; the INIT goes to each in turn.
    pub peer_addresses: Vec<IpAddr>,
    /// Settings of the association.
    pub config: AssociationConfig,
}

impl Connect {
    /// To one address, with defaults.
    pub fn new(peer_address: IpAddr, peer_port: u16) -> Self {
        Self {
            local_port: None,
            local_addresses: Vec::new(),
            peer_port,
            peer_addresses: vec![peer_address],
            config: AssociationConfig::default(),
        }
    }
}

/// Settings of one association.
///
/// Start from a profile ([`rfc`](Self::rfc), [`signalling`](Self::signalling), [`ran`](Self::ran)) or from `default()` and
/// change what must be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct AssociationConfig {
    /// Outbound streams to ask for, 1 to 65 535. The peer may grant fewer (RFC 9260 §5.1.1). Default 32.
    pub outbound_streams: u16,
    /// Most inbound streams to grant, 1 to 65 535; memory is used only for streams that are. Default 2048.
    pub max_inbound_streams: u16,
    /// Receive buffer in bytes at first: what INIT and INIT ACK announce (a_rwnd, RFC 9260 §6.2). At least 4380. Default 1 MiB.
    ///
    /// A peer that overruns its window, or that sends tiny messages which cost more memory than they carry, can occupy at
    /// most twice as much before its packets are dropped.
    //= RFC 9260 §3.3.2: "During the life of the association, this buffer space SHOULD NOT be reduced"
    //= RFC 9260 §3.3.3: "During the life of the association, this buffer space SHOULD NOT be reduced"
    pub receive_buffer: usize,
    /// How far the receive buffer may grow, in bytes: to twice of what the application takes in a round trip, so that the window is
    /// never what limits a peer on a long fat path. It does not shrink, for a window once announced must not be taken back. 0,
    /// or less than [`receive_buffer`](Self::receive_buffer), means that it does not grow: so in the profiles, because RFC 9260 §6.2 C has
    /// a_rwnd rise by what is released only, and because signalling needs no more. Default 16 MiB, at most 1 GiB.
    pub max_receive_buffer: usize,
    /// Send buffer in bytes at first: how much may wait or be unacknowledged before `send` refuses more. A message counts 64 bytes
    /// beside its own. One is always taken when the buffer is empty. Default 1 MiB.
    pub send_buffer: usize,
    /// How far the send buffer may grow, in bytes: to twice the congestion window, when `send` would have to refuse. 0, or less
    /// than [`send_buffer`](Self::send_buffer), means that it does not grow: so in the profiles. Default 16 MiB, at most 1 GiB.
    pub max_send_buffer: usize,
    /// Longest message that may be sent or received, in bytes. Default 256 KiB. A longer one from the peer ends the
    /// association (it could never be delivered), unless messages are delivered in parts.
    pub max_message_size: usize,
    /// Deliver a message in parts, as soon as so many bytes of it have arrived, or less when the receive buffer runs out; the rest follows in
    /// parts of as many ([`ReceivedMessage::part`](crate::ReceivedMessage::part)). Messages from the peer may be of any length then, whatever
    /// the size of the receive buffer ("partial delivery", RFC 9260 §6.9; the partial delivery point of RFC 6458 §8.1.21). 1 byte to three
    /// quarters of [`receive_buffer`](Self::receive_buffer). Default `None`: the application gets whole messages only.
    pub partial_delivery_point: Option<usize>,

    /// RTO before the first measurement ("RTO.Initial", RFC 9260 §16). Default 1 s.
    pub rto_initial: Duration,
    /// Smallest RTO ("RTO.Min"). Should be above the peer's SACK delay, 200 ms as a rule. Default 300 ms.
    pub rto_min: Duration,
    /// Largest RTO ("RTO.Max"). Default 60 s.
    pub rto_max: Duration,
    /// Consecutive unanswered retransmissions and heartbeats, over all paths, after which the peer is given up
    /// ("Association.Max.Retrans"). Default 10.
    pub association_max_retransmits: u32,
    /// The same for one path, after which it is inactive ("Path.Max.Retrans"). Default 5.
    pub path_max_retransmits: u32,
    /// Errors on a path after which it is potentially failed: DATA goes elsewhere at once, and HEARTBEATs find out once per RTO whether
    /// it works ("PotentiallyFailed.Max.Retrans", PFMR, RFC 7829 §3.2). 0 is the first timeout, which RFC 7829 recommends. `None`
    /// leaves DATA on a path until it is inactive, as RFC 9260 alone has it. Default `None`; `Some(0)` in the profiles
    /// [`signalling`](Self::signalling) and [`ran`](Self::ran).
    pub potentially_failed_max_retransmits: Option<u32>,
    /// Whether applications are told of [`PathState::PotentiallyFailed`]; otherwise such a path looks active (RFC 7829 §3.2, rule 12).
    /// Default true.
    ///
    /// [`PathState::PotentiallyFailed`]: crate::PathState::PotentiallyFailed
    pub expose_potentially_failed: bool,
    /// Errors on the primary path after which the path that carries DATA instead becomes the primary, so that DATA does not return
    /// when the old one does ("Primary.Switchover.Max.Retrans", PSMR, RFC 7829 §5). At least
    /// [`potentially_failed_max_retransmits`](Self::potentially_failed_max_retransmits), or without that
    /// [`path_max_retransmits`](Self::path_max_retransmits). Default `None`: DATA returns.
    pub primary_switchover_max_retransmits: Option<u32>,
    /// Retransmissions of INIT, and of COOKIE ECHO, after which an attempt to connect fails ("Max.Init.Retransmits").
    /// Default 8.
    pub max_init_retransmits: u32,
    /// Upper bound of the RTO while connecting. Default 60 s.
    pub init_rto_max: Duration,

    /// End the association when the peer's host tells by ICMP that it does not know SCTP (RFC 9260 §10, ICMP8, a MUST). Otherwise that
    /// counts as an error of the path once the association is established, as what says that the host is unreachable does: the peer
    /// has shown that it knows SCTP, and hosts whose stack works over raw sockets (usrsctp) send such messages whenever a socket's
    /// buffer is full. Default false; true in the profile `rfc`.
    pub abort_on_protocol_unreachable: bool,

    /// Time between HEARTBEATs on an idle path, on top of its RTO and a jitter of ±50 % of that ("HB.interval", RFC 9260
    /// §8.3). `None` sends none but those that verify paths. Default 30 s.
    pub heartbeat_interval: Option<Duration>,
    /// Most HEARTBEATs per RTO that verify addresses of the peer ("HB.Max.Burst", RFC 9260 §5.4). Default 4; the RFC suggests 1.
    pub heartbeat_max_burst: u32,

    /// Longest delay of a SACK ("SACK.Delay"), below 500 ms. Zero acknowledges every packet. Default 200 ms.
    pub sack_delay: Duration,
    /// A SACK is sent at the latest for every so many packets with DATA. Default 2.
    pub sack_every: u8,
    /// Acknowledge sooner where a peer may be waiting for nothing but the SACK: the first packets of an association at once; a lone
    /// packet after 2 ms, if no second one and no DATA of ours has come along to carry the SACK; and once that has happened, lone packets
    /// that are not full at once, until there is a dialogue again. It ends the 200 ms stalls of request–response and of small windows, and
    /// costs bulk transfer nothing. Default true.
    pub sack_early: bool,

    /// Which stream's message is sent next.
    pub scheduler: StreamScheduler,
    /// Wait for a full packet when data is outstanding (Nagle's algorithm, RFC 9260 §6.1). Default false.
    pub nagle: bool,
    /// Most new packets that one event may send, on top of what is in flight ("Max.Burst", RFC 9260 §6.1 D). Default 10; the
    /// RFC suggests 4, from a time of shorter queues.
    pub max_burst: u32,
    /// Spread packets with DATA over the round trip instead of sending them as the window opens: each path at `pacing` percent of
    /// cwnd / SRTT, with bursts of up to [`max_burst`](Self::max_burst) packets. 100 to 1000; 125 leaves the window room to grow.
    /// `None` leaves it to the SACKs. Default none.
    pub pacing: Option<u16>,
    /// Tell by [`Event::SenderDry`] whenever everything sent has been acknowledged. Default false.
    ///
    /// [`Event::SenderDry`]: crate::Event::SenderDry
    pub notify_sender_dry: bool,
    /// The endpoint's user keeps a queue of messages of its own, from which it feeds the association. What it has taken from the
    /// application before the peer's SHUTDOWN came must still be sent (RFC 9260 §9.2). So the association takes messages after
    /// [`Event::PeerShutdown`], too, and agrees to the shutdown only when
    /// [`Endpoint::finish_sending`](crate::Endpoint::finish_sending) has been called. Default false.
    ///
    /// [`Event::PeerShutdown`]: crate::Event::PeerShutdown
    pub queued_outside: bool,
    /// The congestion controller.
    pub congestion: CongestionAlgorithm,
    /// Offer ECN and use it if the peer does too: routers then mark packets where they would have to drop them (RFC 3168), and the
    /// window shrinks without a loss. Default true; false in [`rfc`](Self::rfc), for RFC 9260 only reserves the codepoints ("for future
    /// use", §3.2.2, §3.3.2) and leaves out the procedure, which is that of RFC 4960 Appendix A.
    pub ecn: bool,

    /// The peer's UDP encapsulation port: packets of an association that we begin go in UDP to this port (SCTP_REMOTE_UDP_ENCAPS_PORT, RFC
    /// 6951 §6.1), until one of the peer comes from elsewhere, or not in UDP (§5.4). It needs [`EndpointConfig::udp_port`]. Associations
    /// that we accept answer as the peer sends. `None`, the default, for directly over IP.
    pub remote_udp_port: Option<NonZeroU16>,

    /// PMTU assumed for a path at first, in bytes with the IP header; 576 to 65 535. Default 1500.
    pub path_mtu: u16,
    /// Largest PMTU to look for: what the interface carries, in bytes with the IP header. Default `None`: no more than
    /// [`path_mtu`](Self::path_mtu). Never more than what [`EndpointConfig::max_packet`] allows.
    pub max_path_mtu: Option<u16>,
    /// Find out the PMTU of each path (RFC 8899): back to a smaller one when large packets get lost time and again, and up to
    /// [`max_path_mtu`](Self::max_path_mtu) by probes that cost no DATA and count as no error. Without, only ICMP and
    /// [`set_path_mtu`](crate::Endpoint::set_path_mtu) change it. Default true.
    pub path_mtu_discovery: bool,
    /// After which time more than the PMTU that was found is looked for again (PMTU_RAISE_TIMER, RFC 8899 §5.1.1), on paths that carry less
    /// than [`max_path_mtu`](Self::max_path_mtu); 1 s or more. It costs a probe or a few. Default 600 s.
    pub path_mtu_raise: Duration,

    /// Most paths, which is most addresses of a peer that are used; 1 to 255. More are ignored, and of a peer that connects to us
    /// all beyond the sixteen that a State Cookie holds. Default 8.
    pub max_paths: usize,
    /// Most runs of TSNs above the cumulative TSN that are remembered: most gap ack blocks. DATA that would begin another is
    /// dropped. As many as fit into a SACK on the smallest usual path are enough. Default 256.
    pub max_gaps: usize,
    /// Most messages that may be incomplete at a time. Default 1024.
    pub max_partial_messages: usize,
    /// Most DATA chunks that may be outstanding (sent and not acknowledged cumulatively). Default 16 384.
    pub max_outstanding: usize,
    /// How long a shutdown may take before the association is aborted (T5-shutdown-guard, RFC 9260 §9.2); `None` takes five
    /// times `rto_max`.
    pub shutdown_guard: Option<Duration>,
}

impl Default for AssociationConfig {
    fn default() -> Self {
        Self {
            rto_min: Duration::from_millis(300),
            max_burst: 10,
            heartbeat_max_burst: 4,
            ecn: true,
            abort_on_protocol_unreachable: false,
            max_receive_buffer: 16 << 20,
            max_send_buffer: 16 << 20,
            ..Self::rfc()
        }
    }
}

impl AssociationConfig {
    /// What the INIT ACKs of a listener with these settings say, for whoever answers INITs in front of the endpoint.
    pub fn offer(&self) -> Offer {
        Offer {
            window: u32::try_from(self.receive_buffer).unwrap_or(u32::MAX),
            outbound_streams: self.outbound_streams,
            inbound_streams: self.max_inbound_streams,
            further: self.max_paths.saturating_sub(1).min(cookie::MAX_ADDRESSES) as u16,
            flags: if self.ecn { cookie::flags::ECN } else { 0 },
        }
    }

    /// The parameter values that RFC 9260 §16 suggests, to the letter.
    pub fn rfc() -> Self {
        Self {
            outbound_streams: 32,
            max_inbound_streams: 2048,
            receive_buffer: 1 << 20,
            max_receive_buffer: 0,
            send_buffer: 1 << 20,
            max_send_buffer: 0,
            max_message_size: 256 << 10,
            partial_delivery_point: None,
            rto_initial: Duration::from_secs(1),
            rto_min: Duration::from_secs(1),
            rto_max: Duration::from_secs(60),
            association_max_retransmits: 10,
            path_max_retransmits: 5,
            potentially_failed_max_retransmits: None,
            expose_potentially_failed: true,
            primary_switchover_max_retransmits: None,
            max_init_retransmits: 8,
            init_rto_max: Duration::from_secs(60),
            abort_on_protocol_unreachable: true,
            heartbeat_interval: Some(Duration::from_secs(30)),
            heartbeat_max_burst: 1,
            sack_delay: Duration::from_millis(200),
            sack_every: 2,
            sack_early: true,
            scheduler: StreamScheduler::FirstCome,
            nagle: false,
            max_burst: 4,
            pacing: None,
            notify_sender_dry: false,
            queued_outside: false,
            congestion: CongestionAlgorithm::NewReno,
            ecn: false,
            remote_udp_port: None,
            path_mtu: 1500,
            max_path_mtu: None,
            path_mtu_discovery: true,
            path_mtu_raise: Duration::from_secs(600),
            max_paths: 8,
            max_gaps: 256,
            max_partial_messages: 1024,
            max_outstanding: 16_384,
            shutdown_guard: None,
        }
    }

    /// For signalling between core-network nodes (M3UA, Diameter, SIP): a path is left at its first timeout, after 250 to 500 ms,
    /// and found to be dead after 2 to 3 s.
    pub fn signalling() -> Self {
        Self {
            rto_initial: Duration::from_millis(500),
            rto_min: Duration::from_millis(250),
            rto_max: Duration::from_secs(1),
            path_max_retransmits: 3,
            potentially_failed_max_retransmits: Some(0),
            association_max_retransmits: 8,
            init_rto_max: Duration::from_secs(2),
            heartbeat_interval: Some(Duration::from_secs(5)),
            heartbeat_max_burst: 4,
            sack_delay: Duration::from_millis(100),
            ecn: true,
            abort_on_protocol_unreachable: false,
            ..Self::rfc()
        }
    }

    /// For radio access networks (S1AP, NGAP, XnAP, F1AP): RTO 120/120/500 ms, heartbeat every second; a path is left at its first
    /// timeout, and found to be dead within a second.
    ///
    /// Peers must not delay their SACKs by more than the 120 ms (or must honour the I bit, which every burst ends with).
    pub fn ran() -> Self {
        Self {
            rto_initial: Duration::from_millis(120),
            rto_min: Duration::from_millis(120),
            rto_max: Duration::from_millis(500),
            path_max_retransmits: 2,
            potentially_failed_max_retransmits: Some(0),
            association_max_retransmits: 8,
            init_rto_max: Duration::from_millis(500),
            heartbeat_interval: Some(Duration::from_secs(1)),
            heartbeat_max_burst: 4,
            sack_delay: Duration::from_millis(40),
            ecn: true,
            abort_on_protocol_unreachable: false,
            ..Self::rfc()
        }
    }

    /// Checks that the values make sense together.
    ///
    /// # Errors
    /// Names the first setting that does not, and its allowed range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, setting: &'static str, allowed: &'static str| match ok {
            true => Ok(()),
            false => Err(ConfigError { setting, allowed }),
        };
        //= RFC 9260 §3.3.2: "The value of 0 MUST NOT be used."
        check(self.outbound_streams >= 1, "outbound_streams", "1 to 65535")?;
        //= RFC 9260 §3.3.2: "The value 0 MUST NOT be used."
        //= RFC 9260 §3.3.3: "The value 0 MUST NOT be used."
        check(self.max_inbound_streams >= 1, "max_inbound_streams", "1 to 65535")?;
        check(
            (4380..=1 << 30).contains(&self.receive_buffer),
            "receive_buffer",
            //= RFC 9260 §3.3.2: "The Advertised Receiver Window Credit MUST NOT be smaller than 1500."
            //= RFC 9260 §3.3.3: "The Advertised Receiver Window Credit MUST NOT be smaller than 1500."
            "4380 bytes (RFC 9260 §6 asks for 1500 at least) to 1 GiB",
        )?;
        check((1..=1 << 30).contains(&self.send_buffer), "send_buffer", "1 byte to 1 GiB")?;
        check(self.max_receive_buffer <= 1 << 30, "max_receive_buffer", "up to 1 GiB")?;
        check(self.max_send_buffer <= 1 << 30, "max_send_buffer", "up to 1 GiB")?;
        let holds = |bytes: usize| (1..=self.receive_buffer / 4 * 3).contains(&bytes);
        check(
            self.partial_delivery_point.is_none_or(holds),
            "partial_delivery_point",
            "1 byte to three quarters of receive_buffer, which has to hold so much, or none",
        )?;
        check(
            holds(self.max_message_size) || (self.partial_delivery_point.is_some() && self.max_message_size <= 1 << 30),
            "max_message_size",
            "1 byte to three quarters of receive_buffer, which has to hold a whole message; up to 1 GiB with \
             partial_delivery_point",
        )?;
        check(self.rto_min >= Duration::from_millis(1), "rto_min", "1 ms or more")?;
        check(self.rto_max >= self.rto_min, "rto_max", "rto_min or more")?;
        check(self.rto_max <= Duration::from_secs(3600), "rto_max", "up to one hour")?;
        check((self.rto_min..=self.rto_max).contains(&self.rto_initial), "rto_initial", "between rto_min and rto_max")?;
        check(self.init_rto_max >= self.rto_initial, "init_rto_max", "rto_initial or more")?;
        //= RFC 9260 §6.2: "An implementation MUST NOT allow the maximum delay (protocol parameter 'SACK.Delay') to be
        //= configured to be more than 500 ms."
        //= RFC 9260 §6.2: "but MUST NOT raise it above 500 ms"
        check(self.sack_delay < Duration::from_millis(500), "sack_delay", "below 500 ms (RFC 9260 §6.2)")?;
        check(self.sack_every >= 1, "sack_every", "1 or more")?;
        check(self.max_burst >= 1, "max_burst", "1 or more")?;
        check(self.heartbeat_max_burst >= 1, "heartbeat_max_burst", "1 or more")?;
        check_failure_threshold(self.path_max_retransmits)?;
        if let Some(switchover) = self.primary_switchover_max_retransmits {
            let least = self.potentially_failed_max_retransmits.unwrap_or(self.path_max_retransmits);
            check(
                switchover >= least,
                "primary_switchover_max_retransmits",
                "potentially_failed_max_retransmits or more, or path_max_retransmits or more if that is none (RFC 7829 §5)",
            )?;
        }
        check(self.pacing.is_none_or(|k| (100..=1000).contains(&k)), "pacing", "100 to 1000 percent, or none")?;
        check(self.path_mtu >= 576, "path_mtu", "576 to 65535")?;
        check(self.max_path_mtu.is_none_or(|max| max >= 576), "max_path_mtu", "576 to 65535, or none")?;
        check(self.path_mtu_raise >= Duration::from_secs(1), "path_mtu_raise", "1 s or more")?;
        check((1..=255).contains(&self.max_paths), "max_paths", "1 to 255")?;
        check((1..=8192).contains(&self.max_gaps), "max_gaps", "1 to 8192")?;
        check(self.max_partial_messages >= 1, "max_partial_messages", "1 or more")?;
        //= RFC 9260 §1.6: "An endpoint SHOULD NOT transmit a DATA chunk with a TSN that is more than 2^31 - 1 above the
        //= beginning TSN of its current send window."
        //= RFC 9260 §6.1: "The data sender MUST NOT use a TSN that is more than 2^31 - 1 above the beginning TSN of the
        //= current send window."
        //= RFC 9260 §6.1: "For each stream, the data sender MUST NOT have more than 2^16 - 1 ordered user messages in
        //= the current send window."
        check((1..=65_535).contains(&self.max_outstanding), "max_outstanding", "1 to 65535")?;
        check_heartbeat(self.heartbeat_interval)
    }

    /// Checks that nothing differs from `before` that cannot be changed while an association lives.
    pub(crate) fn check_changes(&self, before: &Self) -> Result<(), ConfigError> {
        let fixed = |same: bool, setting: &'static str| match same {
            true => Ok(()),
            false => Err(ConfigError { setting, allowed: "what it was when the association began" }),
        };
        fixed(self.outbound_streams == before.outbound_streams, "outbound_streams")?;
        fixed(self.max_inbound_streams == before.max_inbound_streams, "max_inbound_streams")?;
        fixed(self.receive_buffer == before.receive_buffer, "receive_buffer")?;
        fixed(self.max_message_size == before.max_message_size, "max_message_size")?;
        fixed(self.partial_delivery_point == before.partial_delivery_point, "partial_delivery_point")?;
        fixed(self.heartbeat_interval == before.heartbeat_interval, "heartbeat_interval")?;
        fixed(self.scheduler == before.scheduler, "scheduler")?;
        fixed(self.congestion == before.congestion, "congestion")?;
        fixed(self.remote_udp_port == before.remote_udp_port, "remote_udp_port")?;
        fixed(self.path_mtu == before.path_mtu, "path_mtu")?;
        fixed(self.max_paths == before.max_paths, "max_paths")?;
        fixed(self.queued_outside == before.queued_outside, "queued_outside")
    }

    /// Longest message that the peer may send, in bytes.
    pub(crate) fn longest_inbound(&self) -> usize {
        if self.partial_delivery_point.is_some() { usize::MAX } else { self.max_message_size }
    }

    /// The time that T5-shutdown-guard runs.
    pub(crate) fn shutdown_guard(&self) -> Duration {
        //= RFC 9260 §9.2: "If the T5-shutdown-guard timer is used, it SHOULD be set to the RECOMMENDED value of 5 times
        //= 'RTO.Max'."
        self.shutdown_guard.unwrap_or(self.rto_max * 5)
    }
}

/// Checks a Path.Max.Retrans.
pub(crate) fn check_failure_threshold(threshold: u32) -> Result<u16, ConfigError> {
    match u16::try_from(threshold) {
        Ok(threshold @ 0..=1000) => Ok(threshold),
        _ => Err(ConfigError { setting: "path_max_retransmits", allowed: "0 to 1000" }),
    }
}

/// Checks an HB.interval.
pub(crate) fn check_heartbeat(interval: Option<Duration>) -> Result<(), ConfigError> {
    match interval {
        Some(interval) if interval < Duration::from_millis(10) => {
            Err(ConfigError { setting: "heartbeat_interval", allowed: "10 ms or more, or none" })
        }
        _ => Ok(()),
    }
}

/// Which stream's message is sent next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamScheduler {
    /// In the order in which the application gave them.
    #[default]
    FirstCome,
    /// Streams that have messages take turns, a message each (RFC 8260 §3.2).
    RoundRobin,
}

/// Which congestion controller an association uses (RFC 9260 §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionAlgorithm {
    /// RFC 9260 §7.2: slow start, congestion avoidance, fast recovery as NewReno.
    #[default]
    NewReno,
    /// CUBIC (RFC 9438): the window grows with time rather than with round trips, which fills long fat paths. It gives way less on
    /// a loss (to 0.7 of the window) and grows faster than RFC 9260 §7.2 lets SCTP by itself, so it has to be asked for.
    Cubic,
}

#[cfg(test)]
mod tests;
