//! Options of listeners and connections.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use sctp_core::AssociationConfig;

/// Bytes that may be on the way between an application and its worker, each way, unless said
/// otherwise.
pub(crate) const DEFAULT_QUEUE: usize = 256 << 10;

/// A named set of timers and limits, so that nobody has to tune twelve of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Profile {
    /// Good for most uses: RFC 9260 §16 with a smaller RTO.Min (300 ms).
    #[default]
    Default,
    /// The values of RFC 9260 §16 to the letter.
    Rfc,
    /// Between nodes of a core network (M3UA, Diameter): a dead path is left in 2 to 3 s.
    Signalling,
    /// Radio access (S1AP, NGAP): RTO 120/120/500 ms, heartbeat 1 s, fail-over within a second.
    Ran,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Profile; 4] = [Profile::Default, Profile::Rfc, Profile::Signalling, Profile::Ran];

    /// The profile's name.
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Default => "default",
            Profile::Rfc => "rfc",
            Profile::Signalling => "signalling",
            Profile::Ran => "ran",
        }
    }

    /// The settings that the name stands for.
    pub fn config(self) -> AssociationConfig {
        match self {
            Profile::Default => AssociationConfig::default(),
            Profile::Rfc => AssociationConfig::rfc(),
            Profile::Signalling => AssociationConfig::signalling(),
            Profile::Ran => AssociationConfig::ran(),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Profile, String> {
        Profile::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
            let names = Profile::ALL.map(Profile::name).join(", ");
            format!("there is no profile `{name}`: choose one of {names}")
        })
    }
}

/// Options of [`Stack::listen`](crate::Stack::listen).
#[derive(Debug, Clone)]
pub struct ListenOptions {
    pub(crate) association: AssociationConfig,
    pub(crate) max_associations: usize,
    pub(crate) backlog: usize,
    pub(crate) queue: usize,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions {
            association: AssociationConfig::default(),
            max_associations: usize::MAX,
            backlog: 1024,
            queue: DEFAULT_QUEUE,
        }
    }
}

impl ListenOptions {
    /// Settings of the associations that are accepted.
    #[must_use]
    pub fn association(mut self, config: AssociationConfig) -> ListenOptions {
        self.association = config;
        self
    }

    /// The settings of a named profile.
    #[must_use]
    pub fn profile(self, profile: Profile) -> ListenOptions {
        self.association(profile.config())
    }

    /// How many associations the port may have at a time, on each worker. Default: no limit but the
    /// stack's.
    #[must_use]
    pub fn max_associations(mut self, count: usize) -> ListenOptions {
        self.max_associations = count;
        self
    }

    /// How many associations may wait to be accepted; more are aborted. Default 1024.
    #[must_use]
    pub fn backlog(mut self, count: usize) -> ListenOptions {
        self.backlog = count;
        self
    }

    /// See [`ConnectOptions::queue`].
    #[must_use]
    pub fn queue(mut self, bytes: usize) -> ListenOptions {
        self.queue = bytes;
        self
    }
}

/// Options of [`Stack::connect`](crate::Stack::connect).
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    pub(crate) association: AssociationConfig,
    pub(crate) local_port: Option<u16>,
    pub(crate) local_addresses: Vec<IpAddr>,
    pub(crate) more_peer_addresses: Vec<IpAddr>,
    pub(crate) queue: usize,
}

impl Default for ConnectOptions {
    fn default() -> ConnectOptions {
        ConnectOptions {
            association: AssociationConfig::default(),
            local_port: None,
            local_addresses: Vec::new(),
            more_peer_addresses: Vec::new(),
            queue: DEFAULT_QUEUE,
        }
    }
}

impl ConnectOptions {
    /// Settings of the association.
    #[must_use]
    pub fn association(mut self, config: AssociationConfig) -> ConnectOptions {
        self.association = config;
        self
    }

    /// The settings of a named profile.
    #[must_use]
    pub fn profile(self, profile: Profile) -> ConnectOptions {
        self.association(profile.config())
    }

    /// How many outbound streams to ask for. Default 32.
    #[must_use]
    pub fn streams(mut self, count: u16) -> ConnectOptions {
        self.association.outbound_streams = count;
        self
    }

    /// Our port. Default: one from 49152 to 65535 that is free.
    #[must_use]
    pub fn local_port(mut self, port: u16) -> ConnectOptions {
        self.local_port = Some(port);
        self
    }

    /// One of our addresses that the association may use; may be called again for more. Default:
    /// all of the stack's.
    #[must_use]
    pub fn local_address(mut self, address: IpAddr) -> ConnectOptions {
        self.local_addresses.push(address);
        self
    }

    /// The peer's UDP encapsulation port: packets go to it in UDP (RFC 6951), from [`StackBuilder::udp_port`](crate::StackBuilder::udp_port),
    /// until the peer's come otherwise. Default: directly over IP.
    #[must_use]
    pub fn remote_udp_port(mut self, port: NonZeroU16) -> ConnectOptions {
        self.association.remote_udp_port = Some(port);
        self
    }

    /// Another address of the peer, tried when the first does not answer; may be called again.
    #[must_use]
    pub fn peer_address(mut self, address: IpAddr) -> ConnectOptions {
        self.more_peer_addresses.push(address);
        self
    }

    /// How many bytes of messages (64 bytes added for each) may be on the way between the
    /// application and the worker, each way. It bridges the time until the other side runs; what
    /// waits for the network or for a slow reader waits in the association's own buffers. Default
    /// 256 KiB.
    #[must_use]
    pub fn queue(mut self, bytes: usize) -> ConnectOptions {
        self.queue = bytes;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_have_names_and_valid_settings() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse::<Profile>(), Ok(profile));
            profile.config().validate().unwrap();
        }
        let error = "fast".parse::<Profile>().unwrap_err();
        assert_eq!(error, "there is no profile `fast`: choose one of default, rfc, signalling, ran");
    }
}
