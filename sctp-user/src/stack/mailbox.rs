//! What the rest of the process puts before a worker, and how it is woken for it.
//!
//! Everything here may be called from any thread without a lock. A worker that is awake finds its
//! mail in its next turn; the wake-up (a system call) is made only for one that sleeps, and only
//! by the first who finds it asleep.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam_queue::{ArrayQueue, SegQueue};
use crossbeam_utils::CachePadded;
use sctp_core::AssociationId;

use super::command::Command;
use super::steer::OwnedPacket;
use crate::datapath::LinkWaker;

/// How many handed-over packets may wait for a worker. Beyond it they are dropped and counted, as a
/// full ring would drop them; SCTP retransmits.
const HANDED_OVER: usize = 1024;

/// A worker's mailbox.
pub(crate) struct Mailbox {
    /// Which worker it is.
    index: u16,
    /// Rare requests. Not bounded: each is one pending call of the application.
    commands: SegQueue<Command>,
    /// Associations whose channel has something for the worker. Each is in it once at most (see
    /// `Channel::schedule`), so their number bounds it.
    ready: SegQueue<AssociationId>,
    /// Packets that another worker has received and this one must handle.
    packets: ArrayQueue<OwnedPacket>,
    /// Packets that did not fit in.
    packets_lost: AtomicU64,
    asleep: CachePadded<AtomicBool>,
    waker: LinkWaker,
    /// Why the worker has ended.
    ended: OnceLock<String>,
}

impl Mailbox {
    /// The mailbox of worker `index`, which sleeps where `waker` wakes it.
    pub(crate) fn new(index: u16, waker: LinkWaker) -> Mailbox {
        Mailbox {
            index,
            commands: SegQueue::new(),
            ready: SegQueue::new(),
            packets: ArrayQueue::new(HANDED_OVER),
            packets_lost: AtomicU64::new(0),
            asleep: CachePadded::new(AtomicBool::new(false)),
            waker,
            ended: OnceLock::new(),
        }
    }

    /// Which worker's it is.
    pub(crate) fn index(&self) -> u16 {
        self.index
    }

    /// Leaves a command. When the worker has ended the command comes back.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        if self.ended.get().is_some() {
            return Err(command);
        }
        self.commands.push(command);
        self.notify();
        // It may have ended in between and not have seen this one. Dropping it drops its reply channel.
        if self.ended.get().is_some() {
            while self.commands.pop().is_some() {}
        }
        Ok(())
    }

    /// Says that the channel of `association` has something for the worker.
    pub(crate) fn ready(&self, association: AssociationId) {
        if self.ended.get().is_none() {
            self.ready.push(association);
            self.notify();
        }
    }

    /// Hands over a packet.
    pub(crate) fn packet(&self, packet: OwnedPacket) {
        if self.packets.push(packet).is_err() {
            self.packets_lost.fetch_add(1, Ordering::Relaxed);
        }
        self.notify();
    }

    /// Wakes the worker if it sleeps. Call it after the mail has been put in.
    pub(crate) fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// Why the worker has ended, if it has.
    pub(crate) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    // The worker's side.

    /// The next command.
    pub(crate) fn next_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// The next association with something to do.
    pub(crate) fn next_ready(&self) -> Option<AssociationId> {
        self.ready.pop()
    }

    /// The next packet that was handed over.
    pub(crate) fn next_packet(&self) -> Option<OwnedPacket> {
        self.packets.pop()
    }

    /// Packets that were handed over but had to be dropped.
    pub(crate) fn packets_lost(&self) -> u64 {
        self.packets_lost.load(Ordering::Relaxed)
    }

    /// Announces that the worker is about to sleep. `false` when there is mail: do not sleep.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// The worker is awake again.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Whether there is no mail.
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.ready.is_empty() && self.packets.is_empty()
    }

    /// The worker has ended for the given reason. Commands that are still inside are dropped, and
    /// with them their reply channels, so that whoever waits for a reply learns of it.
    pub(crate) fn end(&self, reason: String) {
        // Ended once only: the worker calls it when it leaves its loop.
        let _ = self.ended.set(reason);
        // Against `command`, which puts in first and looks then (`notify` has the other fence).
        fence(Ordering::SeqCst);
        while self.commands.pop().is_some() {}
        while self.ready.pop().is_some() {}
        while self.packets.pop().is_some() {}
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("index", &self.index).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use bytes::Bytes;
    use sctp_core::{ChecksumState, Ecn};

    use super::*;
    use crate::datapath::Link as _;
    use crate::datapath::memory::{Faults, MemoryLink, MemoryNetwork};

    /// A link, and the mailbox of the worker that would run on it.
    fn link_and_mailbox(index: u16) -> (MemoryLink, Mailbox) {
        let network = MemoryNetwork::new(1, Faults::default());
        let link = network.attach(&[IpAddr::V4(Ipv4Addr::LOCALHOST)]).unwrap();
        let mailbox = Mailbox::new(index, link.waker());
        (link, mailbox)
    }

    /// The mailbox of a worker that does not exist.
    pub(crate) fn mailbox(index: u16) -> Mailbox {
        link_and_mailbox(index).1
    }

    #[test]
    fn mail_keeps_the_worker_from_sleeping() {
        let mailbox = mailbox(0);
        assert!(mailbox.fall_asleep());
        mailbox.wake_up();
        mailbox.ready(AssociationId::from_parts(1, 1));
        assert!(!mailbox.fall_asleep());
        assert!(mailbox.next_ready().is_some());
        assert!(mailbox.fall_asleep());
    }

    #[test]
    fn a_sleeping_worker_is_woken_by_mail() {
        let (mut link, mailbox) = link_and_mailbox(0);
        let mailbox = Arc::new(mailbox);
        let sender = {
            let mailbox = mailbox.clone();
            thread::spawn(move || {
                for number in 0..2000 {
                    mailbox.ready(AssociationId::from_parts(number, 0));
                }
            })
        };
        for number in 0..2000 {
            let id = loop {
                if let Some(id) = mailbox.next_ready() {
                    break id;
                }
                if mailbox.fall_asleep() {
                    // A lost wake-up would end in this limit.
                    let asleep = std::time::Instant::now();
                    link.wait(Some(Duration::from_secs(20))).unwrap();
                    assert!(asleep.elapsed() < Duration::from_secs(15));
                    mailbox.wake_up();
                }
            };
            assert_eq!(id.slot(), number);
        }
        sender.join().unwrap();
    }

    #[test]
    fn a_full_queue_of_packets_loses_and_counts() {
        let mailbox = mailbox(0);
        let packet = || OwnedPacket {
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            destination: IpAddr::V4(Ipv4Addr::LOCALHOST),
            encapsulation: None,
            ecn: Ecn::NotEct,
            checksum: ChecksumState::NotChecked,
            bytes: Bytes::new(),
        };
        for _ in 0..HANDED_OVER + 3 {
            mailbox.packet(packet());
        }
        assert_eq!(mailbox.packets_lost(), 3);
        assert_eq!(std::iter::from_fn(|| mailbox.next_packet()).count(), HANDED_OVER);
    }

    #[test]
    fn a_worker_that_has_ended_takes_no_mail() {
        let mailbox = mailbox(3);
        assert_eq!(mailbox.index(), 3);
        mailbox.command(Command::Unlisten { port: 1 }).unwrap();
        mailbox.end("the reason".to_owned());
        assert_eq!(mailbox.ended(), Some("the reason"));
        assert!(mailbox.is_empty());
        assert!(mailbox.command(Command::Unlisten { port: 1 }).is_err());
        mailbox.ready(AssociationId::from_parts(0, 0));
        assert!(mailbox.is_empty());
    }
}
