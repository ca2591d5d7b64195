//! What the user may change and look up while an association lives (RFC 9260 §11.1.6, §11.1.8, §11.1.11 to §11.1.13).

use core::net::IpAddr;
use core::num::NonZeroU16;
use std::sync::Arc;

use super::Endpoint;
use crate::config::{AssociationConfig, check_failure_threshold};
use crate::error::AssociationError;
use crate::time::Instant;
use crate::{AssociationId, AssociationStatus};

impl Endpoint {
    /// A picture of an association (STATUS, RFC 9260 §11.1.8; GET SRTT REPORT, §11.1.11); `None` if it has ended.
    pub fn status(&self, id: AssociationId) -> Option<AssociationStatus> {
        self.association(id).map(crate::Association::status)
    }

    /// How packets to an address of the peer go from now on: in UDP to this port, or directly over IP
    /// (SCTP_REMOTE_UDP_ENCAPS_PORT, RFC 6951 §6.1). It holds until a packet of the peer comes from there, which tells better (§5.4).
    ///
    /// # Errors
    /// There is no such association, the address is not its peer's, or the endpoint has no UDP port of its own
    /// ([`EndpointConfig::udp_port`](crate::EndpointConfig::udp_port)).
    pub fn set_remote_udp_port(
        &mut self,
        now: Instant,
        id: AssociationId,
        address: IpAddr,
        port: Option<NonZeroU16>,
    ) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        if port.is_some() && self.config.udp_port.is_none() {
            return Err(AssociationError::NoUdpPort);
        }
        let mut known = false;
        self.with(slot, now, |association, _| known = association.set_remote_udp_port(address, port));
        if known { Ok(()) } else { Err(AssociationError::NoSuchPath(address)) }
    }

    /// Makes an address of ours the source of the association's packets, on every path that it can be the source of: the source
    /// transport address of SET PRIMARY (RFC 9260 §11.1.6). A path that fails may still be tried from another address (§6.4.1), and
    /// one that the peer's restart has made anew begins with the address that the peer has sent to.
    ///
    /// # Errors
    /// There is no such association, or its peer has not been told of that address.
    pub fn set_source(&mut self, now: Instant, id: AssociationId, source: IpAddr) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        let mut known = false;
        self.with(slot, now, |association, _| known = association.set_source(source));
        if known { Ok(()) } else { Err(AssociationError::NotOurAddress(source)) }
    }

    /// Sets Path.Max.Retrans of one path (SET FAILURE THRESHOLD, RFC 9260 §11.1.12): with more than `threshold` errors in a row it is
    /// inactive. It counts from the next error on, instead of [`path_max_retransmits`](AssociationConfig::path_max_retransmits),
    /// until the peer restarts. 0 to 1000.
    ///
    /// # Errors
    /// There is no such association, the address is not its peer's, or the threshold is out of its range.
    pub fn set_failure_threshold(
        &mut self,
        now: Instant,
        id: AssociationId,
        address: IpAddr,
        threshold: u32,
    ) -> Result<(), AssociationError> {
        let threshold = check_failure_threshold(threshold)?;
        let slot = self.live_slot(id)?;
        let mut known = false;
        self.with(slot, now, |association, _| known = association.set_failure_threshold(address, threshold));
        if known { Ok(()) } else { Err(AssociationError::NoSuchPath(address)) }
    }

    /// Changes settings of an association (SET PROTOCOL PARAMETERS, RFC 9260 §11.1.13). They count from now on: timers that run go on
    /// running.
    ///
    /// What the peer has been told (streams, receive buffer), what data structures were made for, and the HB.interval, which each
    /// path has for itself ([`set_heartbeat`](Self::set_heartbeat)), cannot be changed.
    ///
    /// # Errors
    /// There is no such association, or a setting is out of its range or cannot be changed; then all stay as they were.
    pub fn configure(
        &mut self,
        now: Instant,
        id: AssociationId,
        change: impl FnOnce(&mut AssociationConfig),
    ) -> Result<(), AssociationError> {
        let slot = self.live_slot(id)?;
        let before = self.association(id).ok_or(AssociationError::NoAssociation)?.config();
        let mut config = before.clone();
        change(&mut config);
        config.validate()?;
        config.check_changes(before)?;
        self.with(slot, now, |association, _| association.set_config(Arc::new(config)));
        Ok(())
    }
}
