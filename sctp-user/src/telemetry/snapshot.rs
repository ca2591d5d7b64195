//! A picture of a stack: its workers, associations, paths, links and XDP counters.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use sctp_core::{Association, AssociationStats, Discard, PathInfo, PathState};
use serde::{Deserialize, Serialize};

use crate::Stack;
use crate::datapath::LinkStats;
use crate::datapath::xdp::{Control, QueueCounters};
use crate::stack::command::Inspection;
use crate::stack::worker::WorkerCounters;

/// A stack at one moment. Its JSON form is what the [statistics service](super::service) sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StackSnapshot {
    /// The interfaces that the stack runs on.
    pub interfaces: Vec<String>,
    /// How packets come and go; `None` when not by AF_XDP.
    pub af_xdp: Option<AfXdpSnapshot>,
    /// Counters of the XDP programs by name, all interfaces together, and those that the kernel keeps
    /// for AF_XDP sockets, named `xsk_…`.
    pub xdp: BTreeMap<String, u64>,
    /// The XDP programs' counters by queue.
    #[serde(default)]
    pub queues: Vec<QueueSnapshot>,
    /// The workers.
    pub workers: Vec<WorkerSnapshot>,
    /// The associations of all workers.
    pub associations: Vec<AssociationSnapshot>,
}

/// How a stack is bound to its interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfXdpSnapshot {
    /// `copy` or `zero-copy`.
    pub mode: String,
    /// `native` or `generic`.
    pub attach: String,
    /// Queues in use, all interfaces together.
    pub queues: usize,
    /// Workers.
    pub workers: usize,
}

/// What the XDP program counted of one queue's packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSnapshot {
    /// The interface.
    pub interface: String,
    /// The queue; `None` for all that the stack does not use.
    pub queue: Option<u32>,
    /// Counters by name; those at zero are left out.
    pub xdp: BTreeMap<String, u64>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSnapshot {
    /// Its number.
    pub worker: u16,
    /// Turns of its loop.
    pub turns: u64,
    /// Times that it went to sleep.
    pub sleeps: u64,
    /// Packets received and handled.
    pub packets_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets that the link refused.
    pub packets_not_sent: u64,
    /// Packets handed to other workers.
    pub handed_over: u64,
    /// Packets that other workers handed to this one.
    pub taken_over: u64,
    /// Packets answered without an association.
    pub answered: u64,
    /// Times that the link had no room.
    pub back_pressure: u64,
    /// Packets dropped by the protocol or on hand-over, by reason; reasons that did not occur are left
    /// out.
    pub discarded: BTreeMap<String, u64>,
    /// The link's own counters.
    pub link: BTreeMap<String, u64>,
}

/// An association.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AssociationSnapshot {
    /// Its name within its worker.
    pub id: String,
    /// The worker that owns it.
    pub worker: u16,
    /// Its state, as RFC 9260 §4 names it.
    pub state: String,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub peer_port: u16,
    /// Streams that we may send on.
    pub outbound_streams: u16,
    /// Streams that the peer may send on.
    pub inbound_streams: u16,
    /// Free bytes of the send buffer.
    pub send_buffer_free: usize,
    /// Counters since it began.
    pub counters: BTreeMap<String, u64>,
    /// Its paths.
    pub paths: Vec<PathSnapshot>,
}

/// A path of an association. Times are in microseconds, sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathSnapshot {
    /// The peer's address that names it.
    pub address: IpAddr,
    /// The UDP port that packets go to there in UDP (RFC 6951); `None` for directly over IP.
    #[serde(default)]
    pub remote_udp_port: Option<u16>,
    /// `active`, `inactive` or `unconfirmed`.
    pub state: String,
    /// Whether it is the primary path.
    pub primary: bool,
    /// Smoothed round-trip time; `None` before the first measurement.
    pub srtt_us: Option<u64>,
    /// Its variation.
    pub rttvar_us: u64,
    /// Retransmission timeout.
    pub rto_us: u64,
    /// Congestion window.
    pub cwnd: u32,
    /// Slow-start threshold.
    pub ssthresh: u32,
    /// Bytes outstanding.
    pub outstanding: u32,
    /// Path MTU.
    pub mtu: u16,
    /// Consecutive errors.
    pub errors: u32,
}

/// Takes a picture of a stack. Each worker is asked in turn of its loop, so the parts are not of the
/// same instant.
pub async fn snapshot(stack: &Stack) -> StackSnapshot {
    let control = stack.xdp().cloned();
    let parts = stack.inspect(move |inspection| (worker(inspection), associations(inspection, control.as_ref()))).await;
    let (workers, associations): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    StackSnapshot {
        interfaces: stack.interfaces().to_vec(),
        af_xdp: stack.xdp().map(af_xdp),
        xdp: stack.xdp().map(xdp_counters).unwrap_or_default(),
        queues: stack.xdp().map(queues).unwrap_or_default(),
        workers,
        associations: associations.into_iter().flatten().collect(),
    }
}

fn af_xdp(control: &Control) -> AfXdpSnapshot {
    let mode = control.mode();
    let native = mode.interfaces.iter().all(|interface| interface.native);
    AfXdpSnapshot {
        mode: if mode.zero_copy { "zero-copy" } else { "copy" }.to_owned(),
        attach: if native { "native" } else { "generic" }.to_owned(),
        queues: mode.interfaces.iter().map(|interface| interface.queues as usize).sum(),
        workers: usize::from(mode.workers),
    }
}

/// The programs' verdicts by name, and what the kernel counted for the sockets with `xsk_` in front.
/// What cannot be read is left out.
fn xdp_counters(control: &Control) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    match control.counters() {
        Ok(verdicts) => {
            let named = verdicts.into_iter();
            counters.extend(named.map(|(verdict, count)| (verdict.name().to_owned(), count)));
        }
        Err(error) => tracing::warn!(%error, "the XDP programs' counters cannot be read"),
    }
    match control.xsk_stats() {
        Ok(stats) => counters.extend(
            [
                ("xsk_receive_dropped", stats.receive_dropped),
                ("xsk_receive_ring_full", stats.receive_ring_full),
                ("xsk_fill_ring_empty", stats.fill_ring_empty),
                ("xsk_invalid_descriptors", stats.invalid_descriptors),
                ("xsk_transmit_ring_empty", stats.transmit_ring_empty),
            ]
            .map(|(name, count)| (name.to_owned(), count)),
        ),
        Err(error) => tracing::warn!(%error, "the AF_XDP sockets' counters cannot be read"),
    }
    counters
}

/// The programs' verdicts by queue. A queue that has seen nothing is named with no counters; those that are not used are left out then.
fn queues(control: &Control) -> Vec<QueueSnapshot> {
    let counters = control.queue_counters().unwrap_or_else(|error| {
        tracing::warn!(%error, "the XDP programs' counters cannot be read");
        Vec::new()
    });
    let describe = |counters: QueueCounters| {
        let counted = counters.verdicts.into_iter().filter(|(_, count)| *count > 0);
        let xdp = counted.map(|(verdict, count)| (verdict.name().to_owned(), count)).collect();
        QueueSnapshot { interface: counters.interface, queue: counters.queue, xdp }
    };
    counters.into_iter().map(describe).filter(|queue| queue.queue.is_some() || !queue.xdp.is_empty()).collect()
}

fn worker(inspection: &Inspection<'_>) -> WorkerSnapshot {
    let WorkerCounters {
        turns,
        sleeps,
        packets_received,
        packets_sent,
        packets_not_sent,
        handed_over,
        taken_over,
        answered,
        back_pressure,
        discarded,
    } = inspection.counters.clone();
    let lost = ("hand_over_queue_full", inspection.handed_over_lost);
    let discarded = Discard::ALL
        .into_iter()
        .map(|reason| (reason.name(), discarded[reason as usize]))
        .chain([lost])
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    WorkerSnapshot {
        worker: inspection.worker,
        turns,
        sleeps,
        packets_received,
        packets_sent,
        packets_not_sent,
        handed_over,
        taken_over,
        answered,
        back_pressure,
        discarded,
        link: link(&inspection.link),
    }
}

fn link(stats: &LinkStats) -> BTreeMap<String, u64> {
    let named = [
        ("received_packets", stats.received_packets),
        ("received_bytes", stats.received_bytes),
        ("received_icmp", stats.received_icmp),
        ("received_malformed", stats.received_malformed),
        ("received_udp_checksum", stats.received_udp_checksum),
        ("reassembled", stats.reassembled),
        ("reassembled_not_ours", stats.reassembled_not_ours),
        ("reassembled_checksum", stats.reassembled_checksum),
        ("reassembled_too_long", stats.reassembled_too_long),
        ("reassembled_refused", stats.reassembled_refused),
        ("reassembled_lost", stats.reassembled_lost),
        ("received_without_metadata", stats.received_without_metadata),
        ("transmitted_packets", stats.transmitted_packets),
        ("transmitted_bytes", stats.transmitted_bytes),
        ("no_route", stats.no_route),
        ("too_long", stats.too_long),
        ("fragmented", stats.fragmented),
        ("neighbour_waits", stats.neighbour_waits),
        ("neighbour_drops", stats.neighbour_drops),
        ("device_drops", stats.device_drops),
        ("interface_down", stats.interface_down),
        ("transmit_kicks", stats.transmit_kicks),
        ("receive_kicks", stats.receive_kicks),
        ("sleeps", stats.sleeps),
    ];
    named.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn associations(inspection: &Inspection<'_>, control: Option<&Control>) -> Vec<AssociationSnapshot> {
    let worker = inspection.worker;
    inspection.endpoint.associations().map(|association| describe(worker, association, control)).collect()
}

fn describe(worker: u16, association: &Association, control: Option<&Control>) -> AssociationSnapshot {
    let mut counters = counters(association.stats());
    if let Some(ecn) = association.ecn_stats() {
        counters.insert("ecn_marks".to_owned(), ecn.marks);
        counters.insert("ecn_reductions".to_owned(), ecn.reductions);
    }
    let answered =
        control.and_then(|control| control.heartbeats_answered(association.local_port(), association.local_tag()));
    counters.extend(answered.map(|count| ("heartbeats_answered_by_xdp".to_owned(), count)));
    AssociationSnapshot {
        id: association.id().to_string(),
        worker,
        state: association.state().name().to_owned(),
        local_port: association.local_port(),
        peer_port: association.peer_port(),
        outbound_streams: association.outbound_streams(),
        inbound_streams: association.inbound_streams(),
        send_buffer_free: association.send_buffer_free(),
        counters,
        paths: association.paths().map(|info| path(&info)).collect(),
    }
}

fn path(info: &PathInfo) -> PathSnapshot {
    let micros = |duration: Duration| duration.as_micros() as u64;
    PathSnapshot {
        address: info.address,
        remote_udp_port: info.encapsulation.map(NonZeroU16::get),
        state: match info.state {
            PathState::Unconfirmed => "unconfirmed",
            PathState::Active => "active",
            PathState::PotentiallyFailed => "potentially failed",
            PathState::Inactive => "inactive",
            _ => "unknown",
        }
        .to_owned(),
        primary: info.primary,
        srtt_us: info.srtt.map(micros),
        rttvar_us: micros(info.rttvar),
        rto_us: micros(info.rto),
        cwnd: info.cwnd,
        ssthresh: info.ssthresh,
        outstanding: info.flight,
        mtu: info.mtu,
        errors: info.error_count,
    }
}

fn counters(stats: &AssociationStats) -> BTreeMap<String, u64> {
    let named = [
        ("packets_sent", stats.packets_sent),
        ("packets_received", stats.packets_received),
        ("bytes_sent", stats.bytes_sent),
        ("bytes_received", stats.bytes_received),
        ("messages_sent", stats.messages_sent),
        ("messages_received", stats.messages_received),
        ("data_bytes_sent", stats.data_bytes_sent),
        ("data_bytes_received", stats.data_bytes_received),
        ("data_chunks_sent", stats.data_chunks_sent),
        ("data_chunks_received", stats.data_chunks_received),
        ("data_chunks_retransmitted", stats.data_chunks_retransmitted),
        ("fast_retransmits", stats.fast_retransmits),
        ("t3_timeouts", stats.t3_timeouts),
        ("duplicate_chunks", stats.duplicate_chunks),
        ("data_chunks_dropped", stats.data_chunks_dropped),
        ("sacks_sent", stats.sacks_sent),
        ("sacks_received", stats.sacks_received),
        ("heartbeats_sent", stats.heartbeats_sent),
        ("heartbeats_acknowledged", stats.heartbeats_acknowledged),
        ("control_chunks_sent", stats.control_chunks_sent),
        ("control_chunks_received", stats.control_chunks_received),
        ("malformed_packets", stats.malformed_packets),
    ];
    named.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}
