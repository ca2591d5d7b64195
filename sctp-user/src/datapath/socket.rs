//! AF_XDP sockets: making them, binding them to a queue, and kicking the kernel.
//!
//! The first socket registers the UMEM. Every further one shares it (`XDP_SHARED_UMEM`), on whatever
//! interface and queue. The first socket on a queue brings that queue's fill and completion rings;
//! others on the same queue have receive and transmit rings only.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_send_buffer_size_force, set_xdp_rx_ring_size, set_xdp_tx_ring_size, set_xdp_umem_completion_ring_size,
    set_xdp_umem_fill_ring_size, set_xdp_umem_reg, xdp_mmap_offsets, xdp_options, xdp_statistics,
};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpDesc, XdpOptionsFlags, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use thiserror::Error;

use super::frames::FramePool;
use super::ring::{map_consumer, map_producer};
use super::rings::{CompletionRing, Descriptor, FillRing, ReceiveRing, TransmitRing};

/// How packets get between the NIC and the UMEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyMode {
    /// The driver reads and writes frames by itself.
    ZeroCopy,
    /// The kernel copies; works with every driver.
    Copy,
}

/// What a socket is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketRequest<'a> {
    pub(crate) pool: &'a Arc<FramePool>,
    pub(crate) ifindex: u32,
    pub(crate) queue: u32,
    /// Entries of the receive ring, a power of two.
    pub(crate) receive: u32,
    /// Entries of the transmit ring, a power of two; without it the socket only receives.
    pub(crate) transmit: Option<u32>,
    pub(crate) role: Role<'a>,
}

/// The place of a socket among those that share a UMEM.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role<'a> {
    /// The first of all.
    First(CopyMode, QueueSizes),
    /// The first on its queue; shares the UMEM of the socket given, which is on another queue.
    FirstOfQueue(&'a Socket, QueueSizes),
    /// Another on the queue of the socket given.
    Sibling(&'a Socket),
}

/// Sizes of the rings that belong to a queue, powers of two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueSizes {
    pub(crate) fill: u32,
    pub(crate) completion: u32,
}

/// A bound socket with its rings.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) socket: Arc<Socket>,
    pub(crate) receive: ReceiveRing,
    pub(crate) transmit: Option<TransmitRing>,
    /// The queue's rings; there for the first socket of a queue.
    pub(crate) queue: Option<QueueRings>,
}

/// The rings that all sockets on a queue share.
#[derive(Debug)]
pub(crate) struct QueueRings {
    pub(crate) fill: FillRing,
    pub(crate) completion: CompletionRing,
}

/// A bound AF_XDP socket.
pub(crate) struct Socket {
    fd: OwnedFd,
    /// The kernel writes into the frames for as long as the socket exists.
    pool: Arc<FramePool>,
}

/// What came of asking the kernel to transmit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kick {
    /// It has taken what there was.
    Done,
    /// It stopped before the end: its budget for one call (32 packets in copy mode) is used up, or
    /// buffers are, or the device is busy.
    Again,
    /// The device threw a packet away; the others wait for another kick.
    Dropped,
    /// The interface is down or gone: nothing can be sent.
    Down,
}

/// Making a socket failed.
#[derive(Debug, Error)]
#[error("{step}: {source}")]
pub(crate) struct SocketError {
    /// What failed.
    pub(crate) step: Step,
    /// Why.
    pub(crate) source: Errno,
}

/// What is done to make a socket, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Socket,
    RegisterUmem,
    SizeRings,
    MapRings,
    Bind,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "creating an AF_XDP socket",
            Self::RegisterUmem => "registering the memory of the frames",
            Self::SizeRings => "setting the sizes of the rings",
            Self::MapRings => "mapping the rings",
            Self::Bind => "binding the socket",
        })
    }
}

impl Socket {
    /// Makes a socket, maps its rings and binds it.
    ///
    /// A queue that is busy is tried again for a while: after a socket is closed the kernel needs some
    /// milliseconds until the queue is free.
    pub(crate) fn open(request: SocketRequest<'_>) -> Result<Opened, SocketError> {
        let pool = request.pool;
        if let Role::FirstOfQueue(other, _) | Role::Sibling(other) = request.role {
            assert!(Arc::ptr_eq(pool, &other.pool), "sockets that share a UMEM share its pool");
        }
        let fd = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(Step::Socket.failed())?;
        let sizes = match request.role {
            Role::First(_, sizes) | Role::FirstOfQueue(_, sizes) => Some(sizes),
            Role::Sibling(_) => None,
        };
        if let Role::First(..) = request.role {
            register(fd.as_fd(), pool).map_err(Step::RegisterUmem.failed())?;
        }
        size_rings(fd.as_fd(), &request, sizes).map_err(Step::SizeRings.failed())?;
        let (receive, transmit, queue) = map_rings(fd.as_fd(), &request, sizes).map_err(Step::MapRings.failed())?;
        bind_patiently(fd.as_fd(), &request).map_err(Step::Bind.failed())?;
        // In copy mode every packet under way is charged to the socket's send buffer, whose default holds
        // some 250. Where it may not be raised the kernel takes less at a time, that is all.
        let _ = set_socket_send_buffer_size_force(&fd, SEND_BUFFER);
        let socket = Self { fd, pool: pool.clone() };
        Ok(Opened { socket: Arc::new(socket), receive, transmit, queue })
    }

    /// Asks the kernel to transmit what is in the transmit ring.
    ///
    /// # Errors
    ///
    /// What has no place in [`Kick`].
    pub(crate) fn kick_transmit(&self) -> io::Result<Kick> {
        match send(&self.fd, &[], SendFlags::DONTWAIT) {
            Ok(_) => Ok(Kick::Done),
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => Ok(Kick::Again),
            Err(Errno::BUSY) => Ok(Kick::Dropped),
            Err(Errno::NETDOWN | Errno::NXIO | Errno::NODEV) => Ok(Kick::Down),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the kernel that there are frames in the fill ring again.
    pub(crate) fn kick_receive(&self) {
        // Nothing is received by this call, so it has no outcome that would matter: an interface that is
        // down says so when something is sent, and its fill ring is looked at when it comes up.
        let _ = recv(&self.fd, &mut [0u8; 0][..], RecvFlags::DONTWAIT);
    }

    /// Whether the kernel moves packets without copying them (`XDP_OPTIONS`).
    pub(crate) fn is_zero_copy(&self) -> io::Result<bool> {
        Ok(xdp_options(&self.fd)?.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
    }

    /// What the kernel has counted for this socket (`XDP_STATISTICS`).
    pub(crate) fn statistics(&self) -> io::Result<SocketStatistics> {
        let counted = xdp_statistics(&self.fd)?;
        Ok(SocketStatistics {
            receive_dropped: counted.rx_dropped,
            receive_ring_full: counted.rx_ring_full.unwrap_or(0),
            fill_ring_empty: counted.rx_fill_ring_empty_descs.unwrap_or(0),
            invalid_descriptors: counted.rx_invalid_descs + counted.tx_invalid_descs,
            transmit_ring_empty: counted.tx_ring_empty_descs.unwrap_or(0),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.fd).finish()
    }
}

/// What the kernel counts for AF_XDP sockets (`XDP_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStatistics {
    /// Packets that could not be handed over for other reasons than those below.
    pub receive_dropped: u64,
    /// Packets lost because the receive ring was full: the program was too slow.
    pub receive_ring_full: u64,
    /// Times that the kernel found no empty frame to put a packet in.
    pub fill_ring_empty: u64,
    /// Ring entries that made no sense to the kernel; anything but zero is a bug of ours.
    pub invalid_descriptors: u64,
    /// Times that the kernel looked for something to send and found nothing.
    pub transmit_ring_empty: u64,
}

impl std::ops::AddAssign for SocketStatistics {
    fn add_assign(&mut self, other: Self) {
        self.receive_dropped += other.receive_dropped;
        self.receive_ring_full += other.receive_ring_full;
        self.fill_ring_empty += other.fill_ring_empty;
        self.invalid_descriptors += other.invalid_descriptors;
        self.transmit_ring_empty += other.transmit_ring_empty;
    }
}

/// Bytes that may be under way per socket in copy mode.
const SEND_BUFFER: usize = 8 << 20;

/// For how long a busy queue is tried again, and how often.
const BUSY_PATIENCE: Duration = Duration::from_millis(1500);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

// Entries are read and written as `Descriptor`; rustix's type for the same struct says how it must look.
const _: () = assert!(size_of::<Descriptor>() == size_of::<XdpDesc>());
const _: () = assert!(mem::offset_of!(Descriptor, length) == mem::offset_of!(XdpDesc, len));

impl Step {
    fn failed(self) -> impl Fn(Errno) -> SocketError {
        move |source| SocketError { step: self, source }
    }
}

fn register(fd: BorrowedFd<'_>, pool: &FramePool) -> rustix::io::Result<()> {
    let umem = pool.umem();
    set_xdp_umem_reg(
        fd,
        XdpUmemReg {
            addr: umem.address(),
            len: umem.length() as u64,
            chunk_size: umem.frame_size(),
            // The kernel's own headroom (XDP_PACKET_HEADROOM, 256 bytes) comes on top, and is enough.
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        },
    )
}

fn size_rings(fd: BorrowedFd<'_>, request: &SocketRequest<'_>, queue: Option<QueueSizes>) -> rustix::io::Result<()> {
    if let Some(queue) = queue {
        set_xdp_umem_fill_ring_size(fd, queue.fill)?;
        set_xdp_umem_completion_ring_size(fd, queue.completion)?;
    }
    set_xdp_rx_ring_size(fd, request.receive)?;
    if let Some(transmit) = request.transmit {
        set_xdp_tx_ring_size(fd, transmit)?;
    }
    Ok(())
}

type Rings = (ReceiveRing, Option<TransmitRing>, Option<QueueRings>);

fn map_rings(fd: BorrowedFd<'_>, request: &SocketRequest<'_>, queue: Option<QueueSizes>) -> rustix::io::Result<Rings> {
    let pool = request.pool;
    let offsets = xdp_mmap_offsets(fd)?;
    // SAFETY: `fd` is an AF_XDP socket that was made just now, so nothing is mapped yet; each ring is
    // mapped once, with the kernel's offsets and the size that was set; receive and completion are
    // the rings that the kernel produces into, with the entry types of `if_xdp.h`. The pool is the one
    // whose memory the socket uses: `register` gave it to the first socket, and the others, which
    // share that socket's, are opened with the same pool.
    unsafe {
        let receive = map_consumer(fd, XDP_PGOFF_RX_RING, &offsets.rx, request.receive)?;
        let receive = ReceiveRing::new(receive, pool.clone());
        let transmit = match request.transmit {
            Some(size) => {
                let ring = map_producer(fd, XDP_PGOFF_TX_RING, &offsets.tx, size)?;
                Some(TransmitRing::new(ring, pool.clone()))
            }
            None => None,
        };
        let queue = match queue {
            Some(sizes) => {
                let fill = map_producer(fd, XDP_UMEM_PGOFF_FILL_RING, &offsets.fr, sizes.fill)?;
                let completion = map_consumer(fd, XDP_UMEM_PGOFF_COMPLETION_RING, &offsets.cr, sizes.completion)?;
                Some(QueueRings {
                    fill: FillRing::new(fill, pool.clone()),
                    completion: CompletionRing::new(completion, pool.clone()),
                })
            }
            None => None,
        };
        Ok((receive, transmit, queue))
    }
}

fn bind_patiently(fd: BorrowedFd<'_>, request: &SocketRequest<'_>) -> rustix::io::Result<()> {
    let start = Instant::now();
    loop {
        match bind_once(fd, request) {
            Err(Errno::BUSY) if start.elapsed() < BUSY_PATIENCE => thread::sleep(BUSY_PAUSE),
            outcome => return outcome,
        }
    }
}

fn bind_once(fd: BorrowedFd<'_>, request: &SocketRequest<'_>) -> rustix::io::Result<()> {
    let address = |flags| SocketAddrXdp::new(flags, request.ifindex, request.queue);
    match request.role {
        Role::First(mode, _) => {
            let mode = match mode {
                CopyMode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
                CopyMode::Copy => SocketAddrXdpFlags::XDP_COPY,
            };
            bind(fd, &address(mode | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP))
        }
        // Copy mode and need_wakeup are those of the first socket; saying them again is an error.
        Role::FirstOfQueue(first, _) | Role::Sibling(first) => bind(
            fd,
            &SocketAddrXdpWithSharedUmem {
                addr: address(SocketAddrXdpFlags::XDP_SHARED_UMEM),
                shared_umem_fd: first.fd.as_fd(),
            },
        ),
    }
}
