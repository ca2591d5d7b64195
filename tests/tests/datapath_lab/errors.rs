//! What is said when an interface cannot be opened.

use anyhow::{Result, ensure};
use caps::{CapSet, Capability};
use sctp_lab::{Namespace, Pair, PairConfig, require_root};
use sctp_user::datapath::xdp::{CopyPolicy, OpenError, XdpConfig, XdpInterfaces};

use crate::stranger::Stranger;
use crate::support::{Wire, config};

/// The sentence with which opening fails.
fn refusal(namespace: &Namespace, config: &XdpConfig) -> Result<String> {
    match namespace.run(|| XdpInterfaces::open(config)) {
        Ok((control, _)) => anyhow::bail!("{:?} was opened", control.mode()),
        Err(error) => Ok(error.to_string()),
    }
}

#[test]
fn an_interface_that_does_not_exist() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let namespace = Namespace::create("dp-none")?;
    assert_eq!(
        refusal(&namespace, &config("veth9", 1))?,
        "interface veth9 does not exist: `ip link` shows those of this network namespace"
    );
    Ok(())
}

#[test]
fn an_interface_that_is_no_ethernet() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let namespace = Namespace::create("dp-lo")?;
    assert_eq!(refusal(&namespace, &config("lo", 1))?, "interface lo is no Ethernet interface: name one that is");
    Ok(())
}

#[test]
fn more_queues_than_there_are() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let pair = Pair::create("dp-fewq", &PairConfig { queues: 2, ..PairConfig::default() })?;
    let config = XdpConfig { queues: Some(3), ..config("veth1", 1) };
    assert_eq!(
        refusal(&pair.left.namespace, &config)?,
        "veth1 has 2 queues, not 3: ask for fewer, or set them with `ethtool -L veth1`"
    );
    Ok(())
}

#[test]
fn a_program_that_is_attached_already() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-twice")?;
    let _first = wire.namespace.run(|| XdpInterfaces::open(&config("tap0", 1)))?;
    let sentence = refusal(&wire.namespace, &config("tap0", 1))?;
    let expected = "XDP is already attached to tap0 by program sctp_xdp (id ";
    assert!(sentence.starts_with(expected), "{sentence}");
    let remedy = "a stack runs on it (`sctp stats -i tap0`), or has left it there (`sctp xdp detach -i tap0`)";
    assert!(sentence.ends_with(remedy), "{sentence}");
    Ok(())
}

#[test]
fn a_program_of_somebody_else() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-other")?;
    let other = wire.namespace.run(|| Stranger::attach("somebody_else", "tap0"))?;
    let sentence = refusal(&wire.namespace, &config("tap0", 1))?;
    let expected = "XDP is already attached to tap0 by program somebody_else (id ";
    assert!(sentence.starts_with(expected), "{sentence}");
    assert!(sentence.contains("or remove it with `bpftool link detach id "), "{sentence}");
    drop(other);
    wire.namespace.run(|| XdpInterfaces::open(&config("tap0", 1)))?;
    Ok(())
}

#[test]
fn a_dispatcher_of_libxdp() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-libxdp")?;
    let _dispatcher = wire.namespace.run(|| Stranger::attach("xdp_dispatcher", "tap0"))?;
    let sentence = refusal(&wire.namespace, &config("tap0", 1))?;
    assert!(sentence.starts_with("libxdp runs XDP programs on tap0 by its dispatcher (id "), "{sentence}");
    assert!(sentence.ends_with("remove them with `xdp-loader unload tap0 --all`"), "{sentence}");
    Ok(())
}

#[test]
fn a_queue_that_is_in_use() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let pair = Pair::create("dp-busy", &PairConfig { queues: 2, ..PairConfig::default() })?;
    let namespace = &pair.left.namespace;
    let squatter = namespace.run(|| squatter::Squatter::bind("veth1", 1))?;
    assert_eq!(
        refusal(namespace, &config("veth1", 1))?,
        "queue 1 of veth1 is busy: another program's AF_XDP socket is bound to it; stop that program"
    );
    assert!(!pair.left.has_xdp()?, "nothing is left attached");
    drop(squatter);
    namespace.run(|| XdpInterfaces::open(&config("veth1", 1)))?;
    Ok(())
}

#[test]
fn zero_copy_where_there_is_none() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-zc")?;
    let config = XdpConfig { copy: CopyPolicy::ZeroCopy, ..config("tap0", 1) };
    assert_eq!(refusal(&wire.namespace, &config)?, "the driver of tap0 has no zero-copy mode: allow copy mode");
    Ok(())
}

#[test]
fn packets_that_are_too_large_for_xdp() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let pair = Pair::create("dp-mtu", &PairConfig { mtu: 9000, ..PairConfig::default() })?;
    let sentence = refusal(&pair.left.namespace, &config("veth1", 1))?;
    assert!(sentence.starts_with("the driver of veth1 cannot do XDP with an MTU of 9000: set it to "), "{sentence}");
    Ok(())
}

#[test]
fn each_missing_capability_by_name() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-caps")?;
    let without = |lost: &[Capability]| {
        wire.namespace.run(|| {
            // Capabilities are a thread's own, and this thread ends here.
            for &capability in lost {
                caps::drop(None, CapSet::Effective, capability)?;
            }
            match XdpInterfaces::open(&config("tap0", 1)) {
                Err(OpenError::MissingCapability { capability, purpose }) => {
                    ensure!(!purpose.is_empty());
                    Ok(capability)
                }
                outcome => anyhow::bail!("{lost:?}: {outcome:?}"),
            }
        })
    };
    assert_eq!(without(&[Capability::CAP_NET_ADMIN])?, "CAP_NET_ADMIN");
    assert_eq!(without(&[Capability::CAP_NET_RAW])?, "CAP_NET_RAW");
    assert_eq!(without(&[Capability::CAP_BPF, Capability::CAP_SYS_ADMIN])?, "CAP_BPF");
    assert_eq!(without(&[Capability::CAP_PERFMON, Capability::CAP_SYS_ADMIN])?, "CAP_PERFMON");
    Ok(())
}

#[test]
fn five_capabilities_are_enough() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-five")?;
    wire.namespace.run(|| -> Result<()> {
        let five = [
            Capability::CAP_NET_ADMIN,
            Capability::CAP_NET_RAW,
            Capability::CAP_BPF,
            Capability::CAP_PERFMON,
            Capability::CAP_IPC_LOCK,
        ];
        caps::set(None, CapSet::Effective, &five.into_iter().collect())?;
        let (control, links) = XdpInterfaces::open(&config("tap0", 2))?;
        control.own_port(5000, true)?;
        ensure!(links.len() == 2);
        Ok(())
    })
}

#[test]
fn too_little_memory_that_may_be_locked() -> Result<()> {
    if !require_root() {
        return Ok(());
    }
    let wire = Wire::new("dp-lock")?;
    let limit = libc::rlimit { rlim_cur: 8 << 20, rlim_max: 8 << 20 };
    // SAFETY: the limit is a valid one. It binds only those without CAP_IPC_LOCK, which other tests keep.
    ensure!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) } == 0);
    let outcome = wire.namespace.run(|| {
        caps::drop(None, CapSet::Effective, Capability::CAP_IPC_LOCK)?;
        anyhow::Ok(XdpInterfaces::open(&config("tap0", 1)).map(|_| ()))
    })?;
    let sentence = outcome.expect_err("32 MiB cannot be locked").to_string();
    assert!(sentence.starts_with("32768 KiB of memory must be locked, but the limit is 8192 KiB: "), "{sentence}");
    assert!(sentence.contains("CAP_IPC_LOCK"), "{sentence}");
    Ok(())
}

/// Another program that uses AF_XDP.
mod squatter {
    use std::ffi::CString;
    use std::io;
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use anyhow::{Result, ensure};

    /// A socket that is bound to a queue. The queue is free again when it is dropped.
    pub(super) struct Squatter {
        _socket: OwnedFd,
        _memory: Box<Memory>,
    }

    #[repr(C, align(4096))]
    struct Memory([u8; 64 * 4096]);

    impl Squatter {
        pub(super) fn bind(interface: &str, queue: u32) -> Result<Self> {
            // SAFETY: a socket is made from constants; the result is checked.
            let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
            ensure!(fd >= 0, "socket: {}", io::Error::last_os_error());
            // SAFETY: the descriptor is new and nobody else's.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            let memory = Box::new(Memory([0; 64 * 4096]));
            let region = libc::xdp_umem_reg {
                addr: memory.0.as_ptr().expose_provenance() as u64,
                len: memory.0.len() as u64,
                chunk_size: 4096,
                headroom: 0,
                flags: 0,
                tx_metadata_len: 0,
            };
            set(&socket, libc::XDP_UMEM_REG, &region)?;
            for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
                set(&socket, ring, &64_u32)?;
            }
            let name = CString::new(interface)?;
            let address = libc::sockaddr_xdp {
                sxdp_family: libc::AF_XDP as u16,
                sxdp_flags: libc::XDP_COPY,
                // SAFETY: the name is terminated.
                sxdp_ifindex: unsafe { libc::if_nametoindex(name.as_ptr()) },
                sxdp_queue_id: queue,
                sxdp_shared_umem_fd: 0,
            };
            // SAFETY: the address is a `sockaddr_xdp`, and its length is given.
            let bound = unsafe {
                libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size_of_val(&address) as libc::socklen_t)
            };
            ensure!(bound == 0, "bind: {}", io::Error::last_os_error());
            Ok(Self { _socket: socket, _memory: memory })
        }
    }

    fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> Result<()> {
        // SAFETY: the value is what the option takes, and its length is given. The memory that XDP_UMEM_REG names
        // lives as long as the socket.
        let outcome = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_XDP,
                option,
                (value as *const T).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        ensure!(outcome == 0, "option {option}: {}", io::Error::last_os_error());
        Ok(())
    }
}
