use super::*;
use crate::stack::mailbox::tests::mailbox;

const LIMIT: usize = 1000;

/// An established channel with three outbound streams, whose queues take `LIMIT` bytes.
fn channel() -> Channel {
    let limits = QueueLimits { outgoing: LIMIT, incoming: LIMIT, max_message_size: 600 };
    let channel = Channel::new(AssociationId::from_parts(4, 2), Arc::new(mailbox(0)), limits);
    channel.set_established(Established { streams: (3, 5), local_port: 1, peer_port: 2, peer_addresses: Vec::new() });
    channel
}

fn message(length: usize) -> Message {
    Message::new(0, Bytes::from(vec![7; length]))
}

fn received(length: usize) -> ReceivedMessage {
    ReceivedMessage {
        stream: 0,
        ssn: 0,
        ppid: 0,
        unordered: false,
        part: sctp_core::MessagePart::Whole,
        payload: [Bytes::from(vec![7; length])].into_iter().collect(),
    }
}

#[test]
fn the_worker_is_told_once_for_many_messages() {
    let channel = channel();
    let mailbox = channel.mailbox().clone();
    for _ in 0..5 {
        channel.try_send(message(10)).unwrap();
    }
    assert_eq!(mailbox.next_ready(), Some(channel.id()));
    assert_eq!(mailbox.next_ready(), None);
    channel.unschedule();
    channel.try_send(message(10)).unwrap();
    assert_eq!(mailbox.next_ready(), Some(channel.id()));
}

#[test]
fn the_outbound_queue_is_bounded_in_bytes() {
    let channel = channel();
    let mut taken = 0;
    while channel.try_send(message(200)).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, LIMIT.div_ceil(200 + MESSAGE_OVERHEAD), "the last one goes beyond the limit");
    let Err(Refused::Full(back)) = channel.try_send(message(300)) else { panic!("it was not full") };
    assert_eq!(back.payload.len(), 300);
    // Room comes back only when the worker says so, after it has handed the messages on.
    let first = channel.next_outgoing().unwrap();
    assert!(matches!(channel.try_send(message(1)), Err(Refused::Full(_))));
    channel.release(Channel::charge(first.payload.len()));
    channel.try_send(message(1)).unwrap();
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let channel = channel();
    let on = |stream: u16| Message::new(stream, Bytes::from_static(b"x"));
    assert!(matches!(channel.try_send(on(3)), Err(Refused::NoSuchStream { streams: 3 })));
    assert!(matches!(channel.try_send(message(0)), Err(Refused::Empty)));
    assert!(matches!(channel.try_send(message(601)), Err(Refused::TooLarge { limit: 600 })));
    channel.set_streams(4, 4);
    channel.try_send(on(3)).unwrap();
    channel.set_closing();
    assert!(matches!(channel.try_send(on(0)), Err(Refused::Closed)));
}

#[test]
fn the_worker_holds_messages_back_until_half_is_read() {
    let channel = channel();
    let mailbox = channel.mailbox().clone();
    let each = Channel::charge(100);
    let mut delivered = 0;
    loop {
        let room = channel.room();
        if room == 0 {
            break;
        }
        channel.deliver(received(100));
        channel.delivered(each);
        delivered += 1;
    }
    assert_eq!(delivered, LIMIT.div_ceil(each));
    let mut read = 0;
    while mailbox.next_ready().is_none() {
        assert!(channel.try_recv().unwrap().is_some(), "the worker is told before the queue is empty");
        read += 1;
    }
    assert!((delivered - read) * each <= LIMIT / 2);
    assert!(channel.room() >= LIMIT / 2);
    assert_eq!(mailbox.next_ready(), None, "it is told once");
}

#[test]
fn the_smallest_queue_still_moves() {
    let limits = QueueLimits { outgoing: 1, incoming: 1, max_message_size: 600 };
    let channel = Channel::new(AssociationId::from_parts(0, 0), Arc::new(mailbox(0)), limits);
    for _ in 0..3 {
        assert_eq!(channel.room(), 1);
        channel.deliver(received(500));
        channel.delivered(Channel::charge(500));
        assert_eq!(channel.room(), 0);
        channel.try_recv().unwrap().unwrap();
        assert_eq!(channel.mailbox().next_ready(), Some(channel.id()));
        channel.unschedule();
    }
}

#[test]
fn the_end_comes_after_the_messages() {
    let channel = channel();
    channel.deliver(received(1));
    channel.delivered(Channel::charge(1));
    channel.end(Ended::Closed(sctp_core::CloseReason::Shutdown), None);
    assert!(channel.try_recv().unwrap().is_some());
    assert_eq!(channel.try_recv().unwrap_err(), &Ended::Closed(sctp_core::CloseReason::Shutdown));
    assert!(matches!(channel.try_send(message(1)), Err(Refused::Closed)));
}

#[test]
fn what_was_not_sent_at_the_end_is_reported() {
    let channel = channel();
    let subscription = channel.subscribe();
    for context in [8, 9] {
        channel.try_send(message(1).with_context(context)).unwrap();
    }
    channel.end(Ended::Stopped("why".to_owned()), None);
    assert_eq!(channel.unsent(), 2);
    for expected in [8, 9] {
        let failed = Notification::SendFailed {
            context: expected,
            stream: 0,
            sent: false,
            reason: SendFailure::Closed,
            ppid: 0,
            payload: smallvec![message(1).payload],
        };
        assert_eq!(subscription.next(), Ok(Some(failed)));
    }
    assert_eq!(subscription.next(), Ok(Some(Notification::Closed { reason: None, last_tsns: None })));
    assert_eq!(subscription.next(), Err(()));
}

#[test]
fn requests_are_passed_once() {
    let channel = channel();
    let mailbox = channel.mailbox().clone();
    assert!(!channel.requests().shutdown());
    channel.shutdown(false);
    channel.shutdown(false);
    assert!(channel.requests().shutdown() && !channel.requests().discard());
    assert_eq!(mailbox.next_ready(), Some(channel.id()));
    channel.unschedule();
    assert_eq!(mailbox.next_ready(), None);
    // The last handle goes: the graceful end goes on, but nobody reads any more.
    channel.abandon();
    assert!(channel.requests().discard() && !channel.requests().abort());
    channel.unschedule();
    channel.abort(Bytes::from_static(b"first"));
    channel.abort(Bytes::from_static(b"second"));
    assert!(channel.requests().abort());
    assert_eq!(channel.abort_reason(), "first");
}

/// What has been accepted keeps the channel from being drained, also while another thread is about to put it in.
#[test]
fn a_channel_is_drained_when_nothing_can_come_any_more() {
    let channel = channel();
    assert!(!channel.is_drained(), "it is open");
    channel.try_send(message(10)).unwrap();
    channel.set_closing();
    assert!(!channel.is_drained());
    assert!(matches!(channel.try_send(message(10)), Err(Refused::Closed)));
    assert!(channel.next_outgoing().is_some());
    channel.release(Channel::charge(10));
    assert!(channel.is_drained());
}

#[test]
fn no_message_is_lost_between_sending_and_closing() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for _ in 0..200 {
        let limits = QueueLimits { outgoing: 1 << 20, incoming: 1, max_message_size: 600 };
        let channel = Arc::new(Channel::new(AssociationId::from_parts(0, 0), Arc::new(mailbox(0)), limits));
        channel.set_established(Established {
            streams: (3, 5),
            local_port: 1,
            peer_port: 2,
            peer_addresses: Vec::new(),
        });
        let sent = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (channel, sent) = (channel.clone(), sent.clone());
                std::thread::spawn(move || {
                    while channel.try_send(message(10)).is_ok() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut taken = 0;
        let mut take = || {
            while channel.next_outgoing().is_some() {
                channel.release(Channel::charge(10));
                taken += 1;
            }
        };
        take();
        channel.set_closing();
        while !channel.is_drained() {
            take();
        }
        take();
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(channel.next_outgoing(), None, "drained is drained");
        assert_eq!(taken, sent.load(Ordering::Relaxed));
    }
}

#[test]
fn a_lifetime_runs_in_the_channel_too() {
    let channel = channel();
    let lifetime = std::time::Duration::from_secs(100);
    channel.try_send(message(1).with_lifetime(lifetime)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2));
    let left = channel.next_outgoing().unwrap().lifetime.unwrap();
    assert!(left < lifetime && left > lifetime / 2, "{left:?}");
}

#[test]
fn abandoning_aborts() {
    let channel = channel();
    channel.abandon();
    assert!(channel.requests().abort());
    assert!(!channel.is_open());
}

#[test]
fn subscribers_come_and_go() {
    let channel = channel();
    // Nobody listens: the notification is not even made.
    channel.notify(|| panic!("made in vain"));
    let one = channel.subscribe();
    let two = channel.subscribe();
    channel.notify(|| Notification::SenderDry);
    assert_eq!(one.next(), Ok(Some(Notification::SenderDry)));
    assert_eq!(one.next(), Ok(None));
    drop(one);
    drop(two);
    channel.notify(|| Notification::SenderDry);
    channel.notify(|| panic!("made in vain"));
}
