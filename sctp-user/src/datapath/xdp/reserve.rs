//! Our UDP encapsulation port, kept from others.
//!
//! The XDP program takes what comes to it before the kernel's UDP does. The port is bound all the same: another program that wants it is
//! told so, instead of wondering where its packets are; and the kernel does not answer with ICMP, port unreachable, what the program leaves
//! to it, such as IP fragments.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::num::NonZeroU16;

use rustix::net::sockopt::set_socket_recv_buffer_size;

/// The port, bound on all addresses for as long as this lives.
#[derive(Debug)]
pub(super) struct UdpReservation {
    _socket: UdpSocket,
}

impl UdpReservation {
    /// Binds `port`, of IPv6 and IPv4, or of IPv4 alone where the host has no other.
    ///
    /// # Errors
    ///
    /// What the kernel says: above all [`io::ErrorKind::AddrInUse`].
    pub(super) fn bind(port: NonZeroU16) -> io::Result<Self> {
        let socket = match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port.get())) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port.get()))?
            }
            outcome => outcome?,
        };
        // Nobody reads: the least that the kernel keeps will do.
        set_socket_recv_buffer_size(&socket, 0)?;
        Ok(Self { _socket: socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_kept_from_others() {
        let free = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let reservation = UdpReservation::bind(NonZeroU16::new(port).expect("not 0")).expect("it is free");
        let error = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(reservation);
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("it is free again");
    }
}
