//! Raw SCTP sockets: packets as the kernel's IP layer hands them up, put together from their fragments.
//!
//! A socket for each family gets a copy of every SCTP packet that reaches the kernel by one of our interfaces; a filter in the kernel
//! keeps those of other interfaces away. What is read is laid out as a frame, with an Ethernet header made up, so that the code which
//! judges frames can judge it.

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};
use sctp_common::frame::{ETHERNET_HEADER_LENGTH, MAX_SCTP_LENGTH};
use sctp_common::wire::IPPROTO_SCTP;

/// A raw socket that receives SCTP packets of one family.
#[derive(Debug)]
pub(crate) struct RawSocket {
    fd: OwnedFd,
    is_ipv4: bool,
    /// Ethernet header, IP header, packet.
    frame: Box<[u8]>,
    /// What the socket says that it had no room for.
    lost: u32,
}

/// What has been read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// An IP packet, behind an Ethernet header without addresses.
    Frame {
        /// The interface that it came by.
        ifindex: u32,
        bytes: &'a [u8],
    },
    /// One that is longer than any that is judged.
    TooLong,
}

impl RawSocket {
    /// Opens the socket of a family for what comes by the interfaces.
    ///
    /// # Errors
    ///
    /// `EPERM` without CAP_NET_RAW, `EAFNOSUPPORT` where the kernel has no such family.
    pub(crate) fn open(is_ipv4: bool, interfaces: &[u32]) -> io::Result<Self> {
        let family = if is_ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(family, SocketType::RAW, flags, Some(SCTP))?;
        attach_filter(&fd, &mut only_interfaces(interfaces))?;
        // Beyond what users may have: a few dozen packets at once are not much. Without the right to it there is less room.
        if set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER).is_err() {
            set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &RECEIVE_BUFFER)?;
        }
        set(&fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &1)?;
        if is_ipv4 {
            set(&fd, libc::IPPROTO_IP, libc::IP_PKTINFO, &1)?;
        } else {
            set(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1)?;
            set(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, &1)?;
        }
        // The longest of each header.
        let headers = ETHERNET_HEADER_LENGTH + if is_ipv4 { 60 } else { IPV6_HEADER };
        Ok(Self { fd, is_ipv4, frame: vec![0; headers + MAX_SCTP_LENGTH].into(), lost: 0 })
    }

    /// Reads the next packet. `None` if there is none.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Arrival<'_>>> {
        // IPv6 sockets give no header, so there it is made up.
        let at = if self.is_ipv4 { ETHERNET_HEADER_LENGTH } else { ETHERNET_HEADER_LENGTH + IPV6_HEADER };
        let mut control = Control([0; 256]);
        let Some(message) = receive_message(&self.fd, &mut self.frame[at..], &mut control)? else { return Ok(None) };
        let about = About::read(&control.0[..message.control]);
        self.lost = about.lost.unwrap_or(self.lost);
        if message.truncated {
            return Ok(Some(Arrival::TooLong));
        }
        let ether_type: u16 = if self.is_ipv4 { 0x0800 } else { 0x86dd };
        self.frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
        if !self.is_ipv4 {
            let header = ipv6_header(message.length, about.traffic_class, message.source, about.destination);
            self.frame[ETHERNET_HEADER_LENGTH..at].copy_from_slice(&header);
        }
        Ok(Some(Arrival::Frame { ifindex: about.ifindex, bytes: &self.frame[..at + message.length] }))
    }

    /// How many packets the socket had no room for, as it said last.
    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }
}

impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The header of a packet that has none any more; hop limit and flow label do not matter here.
fn ipv6_header(length: usize, traffic_class: u8, source: Ipv6Addr, destination: Ipv6Addr) -> [u8; IPV6_HEADER] {
    let mut header = [0; IPV6_HEADER];
    header[..2].copy_from_slice(&(0x6000 | u16::from(traffic_class) << 4).to_be_bytes());
    // At most what the buffer holds.
    header[4..6].copy_from_slice(&(length as u16).to_be_bytes());
    header[6] = IPPROTO_SCTP;
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
    header
}

/// What the kernel says of a packet beside its bytes.
#[derive(Debug, PartialEq, Eq)]
struct About {
    ifindex: u32,
    /// Of IPv6 packets.
    destination: Ipv6Addr,
    traffic_class: u8,
    lost: Option<u32>,
}

impl About {
    /// Reads control messages: length, level and type of each, then its data, all aligned as `usize` is (cmsg(3)).
    fn read(mut control: &[u8]) -> Self {
        const WORD: usize = size_of::<usize>();
        const HEADER: usize = (WORD + 8).next_multiple_of(WORD);
        let mut about = Self { ifindex: 0, destination: Ipv6Addr::UNSPECIFIED, traffic_class: 0, lost: None };
        while let Some((length, rest)) = control.split_first_chunk::<WORD>() {
            let Some(([level, kind], _)) = rest.as_chunks::<4>().0.split_first_chunk::<2>() else { break };
            let length = usize::from_ne_bytes(*length);
            let Some(data) = control.get(HEADER..length) else { break };
            let first = data.first_chunk::<4>().map_or(0, |word| u32::from_ne_bytes(*word));
            match (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => about.ifindex = first,
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    if let Some((address, index)) = data.split_first_chunk::<16>() {
                        about.destination = Ipv6Addr::from(*address);
                        about.ifindex = index.first_chunk().map_or(0, |index| u32::from_ne_bytes(*index));
                    }
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => about.traffic_class = first as u8,
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => about.lost = Some(first),
                _ => {}
            }
            control = control.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        }
        about
    }
}

/// A filter program that keeps away what has come by other interfaces (classic BPF).
fn only_interfaces(interfaces: &[u32]) -> Vec<libc::sock_filter> {
    let step = |code: u32, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let everything = u32::MAX;
    let mut program =
        vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32)];
    for &ifindex in interfaces {
        program.push(step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, ifindex));
        program.push(step(libc::BPF_RET | libc::BPF_K, 0, everything));
    }
    program.push(step(libc::BPF_RET | libc::BPF_K, 0, 0));
    program
}

fn attach_filter(fd: &OwnedFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    // What is more than the kernel takes, it refuses.
    let length = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Sets a socket option to a plain value of the kernel's interface.
fn set<T>(fd: &OwnedFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `value`, which are there. The only value with a pointer is that of
    // `attach_filter`, whose program lives until the call returns, and the kernel copies it.
    let outcome = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a system call has read.
struct Message {
    length: usize,
    control: usize,
    truncated: bool,
    /// Of IPv6 packets.
    source: Ipv6Addr,
}

/// Memory for control messages, aligned as they are.
#[repr(align(8))]
struct Control([u8; 256]);

fn receive_message(fd: &OwnedFd, buffer: &mut [u8], control: &mut Control) -> io::Result<Option<Message>> {
    let mut name = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the structure has integers and pointers only, for which zeros are fine.
    let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of_val(&name) as libc::socklen_t;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: all pointers in `header` are to memory that is borrowed mutably for the call, with its right length.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, 0) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
            _ => Err(error),
        };
    };
    // SAFETY: it was zeroed, which is a value of the structure, and the kernel has written nothing else into it.
    let name = unsafe { name.assume_init() };
    let source = SocketAddrV6::new(name.sin6_addr.s6_addr.into(), 0, 0, 0);
    Ok(Some(Message {
        length,
        control: header.msg_controllen.min(control.0.len()),
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        source: *source.ip(),
    }))
}

const SCTP: Protocol = rustix::net::ipproto::SCTP;

const IPV6_HEADER: usize = 40;

/// Bytes of packets that may wait to be read, with what the kernel needs to keep them.
const RECEIVE_BUFFER: i32 = 1 << 20;

#[cfg(test)]
mod tests {
    use sctp_common::frame::decode;

    use super::*;

    /// A control message as the kernel lays it out.
    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn control_messages_are_read() {
        let address: Ipv6Addr = "fd00::2".parse().unwrap();
        let info = [&address.octets()[..], &7_u32.to_ne_bytes()].concat();
        let mut control = message(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        control.extend(message(libc::SOL_SOCKET, 9999, &[1; 5]));
        control.extend(message(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &3_i32.to_ne_bytes()));
        control.extend(message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &12_u32.to_ne_bytes()));
        let about = About { ifindex: 7, destination: address, traffic_class: 3, lost: Some(12) };
        assert_eq!(About::read(&control), about);
        let info = [5_u32.to_ne_bytes(), [10, 0, 0, 2], [10, 0, 0, 2]].concat();
        assert_eq!(About::read(&message(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)).ifindex, 5);
        // Whatever is cut off or wrong ends it.
        for length in 0..control.len() {
            About::read(&control[..length]);
        }
        About::read(&[0xff; 40]);
        About::read(&[0; 40]);
    }

    #[test]
    fn a_made_up_header_is_read_as_it_was_meant() {
        let (source, destination): (Ipv6Addr, Ipv6Addr) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd]);
        frame.extend(ipv6_header(2000, 0b0111_0110, source, destination));
        frame.extend([0, 9, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 20]);
        frame.resize(14 + 40 + 2000, 0);
        let decoded = decode(&frame[..]).expect("a sound frame");
        let addresses = decoded.addresses(&frame[..]).expect("a whole frame");
        assert_eq!((addresses.source, addresses.destination), (source.octets(), destination.octets()));
        assert_eq!((decoded.sctp_len, decoded.ecn, decoded.fragment), (2000, 2, false));
    }

    #[test]
    fn the_filter_is_as_long_as_there_are_interfaces() {
        let program = only_interfaces(&[3, 9]);
        let constants: Vec<_> = program.iter().map(|step| (step.jf, step.k)).collect();
        assert_eq!(constants, [(0, 0xffff_f008), (1, 3), (0, u32::MAX), (1, 9), (0, u32::MAX), (0, 0)]);
    }
}
