//! What applications may ask an association (RFC 9260 §11.1.8).

use super::Association;
use crate::config::AssociationConfig;
use crate::congestion::Controller;
use crate::event::PathInfo;
use crate::{AssociationId, AssociationState, AssociationStats, AssociationStatus, EcnStats};

impl Association {
    /// Its id.
    pub fn id(&self) -> AssociationId {
        self.id
    }

    /// Its state (RFC 9260 §4).
    pub fn state(&self) -> AssociationState {
        self.state.public()
    }

    /// What it has counted.
    pub fn stats(&self) -> &AssociationStats {
        &self.stats
    }

    /// A picture of all of it.
    pub fn status(&self) -> AssociationStatus {
        AssociationStatus {
            state: self.state(),
            paths: self.paths().collect(),
            peer_window: self.peer_window(),
            outstanding_chunks: self.outstanding_chunks(),
            messages_ready: self.messages_ready(),
            receive_buffer_used: self.receive_buffer_used(),
            send_buffer_used: self.send_buffer_used(),
            outbound_streams: self.outbound_streams,
            inbound_streams: self.inbound_streams,
            stats: self.stats,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &AssociationConfig {
        &self.config
    }

    /// Our port.
    pub fn local_port(&self) -> u16 {
        self.local_port
    }

    /// The peer's port.
    pub fn peer_port(&self) -> u16 {
        self.peer_port
    }

    /// Our verification tag: what packets to us carry.
    pub fn local_tag(&self) -> u32 {
        self.local_tag
    }

    /// The peer's verification tag: what packets to it carry; 0 while it is not known.
    pub fn peer_tag(&self) -> u32 {
        self.peer_tag
    }

    /// Streams that may be sent on; before the association is established those asked for.
    pub fn outbound_streams(&self) -> u16 {
        self.outbound_streams
    }

    /// Streams that the peer may send on; 0 before that is negotiated.
    pub fn inbound_streams(&self) -> u16 {
        self.inbound_streams
    }

    /// Its paths, one for each address of the peer.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = PathInfo> + '_ {
        (0..self.paths.len()).map(|at| self.path_info(at))
    }

    /// The primary path.
    pub fn primary_path(&self) -> PathInfo {
        self.path_info(self.paths.primary())
    }

    /// Whether both sides are capable of ECN, so that DATA is sent as ECN-capable transport (RFC 3168).
    pub fn uses_ecn(&self) -> bool {
        self.ecn.is_some()
    }

    /// What ECN has counted; `None` if it is not used.
    pub fn ecn_stats(&self) -> Option<EcnStats> {
        self.ecn.as_ref().map(|ecn| ecn.stats)
    }

    /// Bytes that the send buffer has left. (A message counts 64 bytes beside its own.)
    pub fn send_buffer_free(&self) -> usize {
        self.sender.free()
    }

    /// Bytes that wait or are not acknowledged for good, as the send buffer counts them.
    pub fn send_buffer_used(&self) -> usize {
        self.sender.buffered()
    }

    /// DATA chunks that have been sent and are not acknowledged for good.
    pub fn outstanding_chunks(&self) -> usize {
        self.sender.outstanding.len()
    }

    /// Bytes of user data that are in flight on all paths.
    pub fn data_in_flight(&self) -> usize {
        self.sender.outstanding.data_in_flight()
    }

    /// What the peer's receive buffer has left, in bytes, as far as we know (rwnd).
    pub fn peer_window(&self) -> usize {
        self.sender.peer_window()
    }

    /// Size of the receive buffer in bytes, as far as it has grown.
    pub fn receive_buffer(&self) -> usize {
        self.receiver.buffer()
    }

    /// Size of the send buffer in bytes, as far as it has grown.
    pub fn send_buffer(&self) -> usize {
        self.sender.buffer()
    }

    /// Bytes of user data that have been received and not been taken by the application.
    pub fn receive_buffer_used(&self) -> usize {
        self.receiver.held()
    }

    /// Messages that can be received now.
    pub fn messages_ready(&self) -> usize {
        self.receiver.ready()
    }

    fn path_info(&self, at: usize) -> PathInfo {
        let path = &self.paths[at];
        PathInfo {
            address: path.address,
            encapsulation: path.encapsulation,
            state: self.public_state(path.state),
            primary: at == self.paths.primary(),
            srtt: path.rtt.srtt(),
            rttvar: path.rtt.rttvar(),
            rto: path.rtt.rto(),
            cwnd: path.controller.window(),
            ssthresh: path.controller.threshold(),
            flight: self.sender.outstanding.flight(at).bytes,
            mtu: path.mtu,
            error_count: path.error_count.into(),
        }
    }
}
