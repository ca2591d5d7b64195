//! Which ports are ours.
//!
//! A port is ours while somebody listens on it or an association uses it. The data path is told of
//! each change, so that the XDP program takes exactly those ports from the kernel. All that comes to
//! such a port is wanted, INITs included: where nobody listens they may come from the peer of an
//! association, which has restarted or wants to set one up at the same time as we do (RFC 9260
//! §5.2.1, §5.2.2). The endpoint finds that out, and answers others with ABORT (§5.1).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sctp_common::init::Offer;
use sctp_core::{Association, PeerChange, TagChange};

/// What a data path wants to know about ports and tags. Called when associations come and go, never
/// for a packet.
pub(crate) trait Control: Send + Sync {
    /// Take the port's packets, INITs among them.
    ///
    /// # Errors
    /// When the data path cannot.
    fn own_port(&self, port: u16) -> io::Result<()>;

    /// Leave the port's packets to the kernel again.
    fn disown_port(&self, port: u16);

    /// INITs to the port, which is ours, may be answered in front of the workers with what `offer` says of its listener.
    ///
    /// # Errors
    /// When the data path cannot.
    fn offer(&self, _port: u16, _offer: Offer) -> io::Result<()> {
        Ok(())
    }

    /// The port, which stays ours, has no listener any more.
    fn withdraw_offer(&self, _port: u16) {}

    /// A verification tag of an association of `worker` has come into use or gone out of it.
    ///
    /// # Errors
    /// When the data path cannot hold another tag.
    fn change_tag(&self, worker: u16, change: &TagChange) -> io::Result<()>;

    /// An association of `worker` has got a peer address or lost one.
    ///
    /// # Errors
    /// When the data path cannot hold another peer.
    fn change_peer(&self, worker: u16, change: &PeerChange) -> io::Result<()>;

    /// The tag that the peer of an association has drawn has become known or has changed.
    ///
    /// # Errors
    /// When the data path cannot hold it.
    fn know_peer_tag(&self, _association: &Association) -> io::Result<()> {
        Ok(())
    }

    /// A number that changes when the host's addresses may have changed; read once per turn.
    fn generation(&self) -> u64;

    /// The host's addresses, after the data path has been told of them.
    ///
    /// # Errors
    /// When the data path cannot take them.
    fn addresses(&self) -> io::Result<Vec<IpAddr>>;
}

/// The control of a data path that needs none: everything on the link is for us.
#[derive(Debug)]
pub(crate) struct NoControl;

impl Control for NoControl {
    fn own_port(&self, _port: u16) -> io::Result<()> {
        Ok(())
    }

    fn disown_port(&self, _port: u16) {}

    fn change_tag(&self, _worker: u16, _change: &TagChange) -> io::Result<()> {
        Ok(())
    }

    fn change_peer(&self, _worker: u16, _change: &PeerChange) -> io::Result<()> {
        Ok(())
    }

    fn generation(&self) -> u64 {
        0
    }

    fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(Vec::new())
    }
}

/// The ports of a stack, with the reasons why they are ours.
pub(crate) struct Ports {
    /// Ports that listeners have, or are about to have.
    reserved: Mutex<HashSet<u16>>,
    uses: Mutex<HashMap<u16, Uses>>,
    control: Box<dyn Control>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Uses {
    listeners: usize,
    associations: usize,
}

impl Ports {
    /// No port yet.
    pub(crate) fn new(control: Box<dyn Control>) -> Ports {
        Ports { reserved: Mutex::default(), uses: Mutex::default(), control }
    }

    /// The control that is told of ports; it is told of tags, too.
    pub(crate) fn control(&self) -> &dyn Control {
        &*self.control
    }

    /// Claims a port for an association or a listener, until the lease is dropped.
    ///
    /// # Errors
    /// What the data path returns.
    pub(crate) fn lease(self: &Arc<Self>, port: u16, reason: Reason) -> io::Result<PortLease> {
        let mut uses = self.lock();
        let before = uses.get(&port).copied().unwrap_or_default();
        let mut after = before;
        *after.count(reason) += 1;
        if !before.any() {
            self.control.own_port(port)?;
        }
        uses.insert(port, after);
        Ok(PortLease { ports: self.clone(), port, reason })
    }

    /// Reserves a port for one listener, before the workers and the data path are told.
    ///
    /// `None` when another listener has it.
    pub(crate) fn reserve(self: &Arc<Self>, port: u16) -> Option<Reservation> {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.insert(port).then(|| Reservation { ports: self.clone(), port })
    }

    fn release(&self, port: u16, reason: Reason) {
        let mut uses = self.lock();
        let Some(entry) = uses.get_mut(&port) else { return };
        *entry.count(reason) -= 1;
        if !entry.any() {
            uses.remove(&port);
            self.control.disown_port(port);
        } else if reason == Reason::Listener && entry.listeners == 0 {
            self.control.withdraw_offer(port);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u16, Uses>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ports").field("uses", &self.uses).finish_non_exhaustive()
    }
}

impl Uses {
    fn count(&mut self, reason: Reason) -> &mut usize {
        match reason {
            Reason::Listener => &mut self.listeners,
            Reason::Association => &mut self.associations,
        }
    }

    /// Whether there is a reason left.
    fn any(self) -> bool {
        self.listeners + self.associations > 0
    }
}

/// Why a port is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Somebody listens on it.
    Listener,
    /// An association uses it.
    Association,
}

/// A claim to a port; dropping it gives the claim up.
#[derive(Debug)]
pub(crate) struct PortLease {
    ports: Arc<Ports>,
    port: u16,
    reason: Reason,
}

impl Drop for PortLease {
    fn drop(&mut self) {
        self.ports.release(self.port, self.reason);
    }
}

/// A listener's exclusive right to a port; dropping it gives the right up.
#[derive(Debug)]
pub(crate) struct Reservation {
    ports: Arc<Ports>,
    port: u16,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ports.reserved.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<String>>>);

    impl Control for Recorder {
        fn own_port(&self, port: u16) -> io::Result<()> {
            if port == 13 {
                return Err(io::Error::other("map full"));
            }
            self.0.lock().unwrap().push(format!("own {port}"));
            Ok(())
        }

        fn disown_port(&self, port: u16) {
            self.0.lock().unwrap().push(format!("disown {port}"));
        }

        fn withdraw_offer(&self, port: u16) {
            self.0.lock().unwrap().push(format!("withdraw {port}"));
        }

        fn change_tag(&self, _worker: u16, _change: &TagChange) -> io::Result<()> {
            Ok(())
        }

        fn change_peer(&self, _worker: u16, _change: &PeerChange) -> io::Result<()> {
            Ok(())
        }

        fn generation(&self) -> u64 {
            0
        }

        fn addresses(&self) -> io::Result<Vec<IpAddr>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn the_data_path_is_told_of_changes_only() {
        let recorder = Recorder::default();
        let ports = Arc::new(Ports::new(Box::new(recorder.clone())));
        let listener = ports.lease(7, Reason::Listener).unwrap();
        let one = ports.lease(7, Reason::Association).unwrap();
        let two = ports.lease(7, Reason::Association).unwrap();
        drop(listener);
        drop(one);
        drop(two);
        let calls = recorder.0.lock().unwrap().clone();
        assert_eq!(calls, ["own 7", "withdraw 7", "disown 7"]);
    }

    #[test]
    fn an_association_alone_lets_inits_in() {
        // Its peer may restart (RFC 9260 §5.2.2), so the port is taken as a listener's is.
        let recorder = Recorder::default();
        let ports = Arc::new(Ports::new(Box::new(recorder.clone())));
        let association = ports.lease(4000, Reason::Association).unwrap();
        let listener = ports.lease(4000, Reason::Listener).unwrap();
        drop(association);
        assert_eq!(*recorder.0.lock().unwrap(), ["own 4000"]);
        drop(listener);
        assert_eq!(*recorder.0.lock().unwrap(), ["own 4000", "disown 4000"]);
    }

    #[test]
    fn one_listener_at_a_time() {
        let ports = Arc::new(Ports::new(Box::new(NoControl)));
        let first = ports.reserve(7).unwrap();
        assert!(ports.reserve(7).is_none());
        assert!(ports.reserve(8).is_some());
        drop(first);
        assert!(ports.reserve(7).is_some());
    }

    #[test]
    fn a_refusal_leaves_no_claim() {
        let recorder = Recorder::default();
        let ports = Arc::new(Ports::new(Box::new(recorder.clone())));
        assert!(ports.lease(13, Reason::Association).is_err());
        assert!(ports.lock().is_empty());
        assert!(recorder.0.lock().unwrap().is_empty());
    }
}
