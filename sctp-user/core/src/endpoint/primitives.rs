//! What the user may change and look up while an association lives (RFC 9260 §11.1.8, §11.1.11 to §11.1.13).

use std::sync::Arc;

use super::Endpoint;
use crate::config::AssociationConfig;
use crate::error::AssociationError;
use crate::time::Instant;
use crate::{AssociationId, AssociationStatus};

impl Endpoint {
    /// A picture of an association (STATUS, RFC 9260 §11.1.8; GET SRTT REPORT, §11.1.11); `None` if it has ended.
    pub fn status(&self, id: AssociationId) -> Option<AssociationStatus> {
        self.association(id).map(crate::Association::status)
    }

    /// Changes settings of an association (SET PROTOCOL PARAMETERS, RFC 9260 §11.1.13; with
    /// [`path_max_retransmits`](AssociationConfig::path_max_retransmits) SET FAILURE THRESHOLD, §11.1.12). They count from now on:
    /// timers that run go on running.
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
