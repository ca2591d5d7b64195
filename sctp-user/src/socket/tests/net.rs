//! The network that the stacks of a test are on.

use std::net::IpAddr;

use sctp_common::steering::Steering;

use crate::datapath::memory::{Faults, HostConfig, MemoryNetwork};
use crate::{Stack, StackBuilder};

/// A network in memory.
#[derive(Debug, Clone)]
pub(super) struct Net {
    network: MemoryNetwork,
    faults: Faults,
}

impl Net {
    /// Without faults.
    pub(super) fn new() -> Net {
        Net::with_faults(Faults::default())
    }

    /// That loses a share of the packets.
    pub(super) fn lossy(share: f64) -> Net {
        Net::with_faults(Faults { loss: share, ..Faults::default() })
    }

    fn with_faults(faults: Faults) -> Net {
        Net { network: MemoryNetwork::new(1, faults), faults }
    }

    /// A stack with one worker and one address.
    pub(super) fn stack(&self, address: &str) -> Stack {
        self.builder(address, Steering { key: [1, 2], workers: 1 }).build().unwrap()
    }

    /// A stack whose packets the network brings to the right worker, as the XDP program does.
    pub(super) fn steered(&self, address: &str, workers: u16) -> Stack {
        let steering = Steering { key: [1, 2], workers };
        self.builder(address, steering).steering_key(steering.key).build().unwrap()
    }

    /// A stack whose packets the network brings to any worker, as an interface may that cannot steer.
    pub(super) fn unsteered(&self, address: &str, workers: u16) -> Stack {
        // The stack draws a key of its own.
        self.builder(address, Steering { key: [1, 2], workers }).build().unwrap()
    }

    /// A stack that is yet to be built.
    pub(super) fn builder(&self, address: &str, steering: Steering) -> StackBuilder {
        self.multi_homed(&[address.parse().unwrap()], steering)
    }

    /// The same with several addresses.
    pub(super) fn multi_homed(&self, addresses: &[IpAddr], steering: Steering) -> StackBuilder {
        let host = HostConfig { addresses: addresses.to_vec(), steering, capture: None };
        let links = self.network.attach_host(&host).unwrap();
        let builder = addresses.iter().fold(Stack::builder(), |builder, address| builder.local_address(*address));
        links.into_iter().fold(builder, StackBuilder::link)
    }

    /// From now on nothing arrives any more.
    pub(super) fn cut(&self) {
        self.network.set_faults(Faults { loss: 1.0, ..self.faults });
    }

    /// It is as it was before.
    pub(super) fn mend(&self) {
        self.network.set_faults(self.faults);
    }
}
