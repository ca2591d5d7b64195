//! The handle of an association.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use sctp_core::time::Instant;
use sctp_core::{
    AssociationConfig, AssociationError, AssociationId, AssociationStatus, CloseReason, Endpoint, Message,
    ReceivedMessage,
};
use tokio::sync::oneshot;

use super::error::{CloseError, ConnectError, PathError, RecvError, SendError, TrySendError, in_order};
use super::stack::Shared;
use crate::stack::channel::{Channel, Subscription};
use crate::stack::command::Command;
use crate::stack::notification::{Ended, Notification};
use crate::stack::wait::Place;

/// An SCTP association.
///
/// Handles can be cloned and used from several tasks at once. Every future that the methods return
/// can be dropped at any time without harm ("cancel-safe"), as each method says.
///
/// # Ending
/// * [`close`](Association::close) ends it gracefully and waits for the end: everything sent
///   arrives first (RFC 9260 §9.2).
/// * [`shutdown`](Association::shutdown) begins the same and returns; messages can still be read.
/// * [`abort`](Association::abort) ends it at once (RFC 9260 §9.1).
/// * **Dropping the last handle aborts the association**, unless `close` or `shutdown` was called
///   before: then the graceful end goes on without a handle.
#[derive(Clone)]
pub struct Association {
    guard: Arc<Guard>,
}

/// What the handles of an association share. Dropped with the last of them.
struct Guard {
    channel: Arc<Channel>,
    /// Keeps the workers running.
    _stack: Arc<Shared>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.channel.abandon();
    }
}

impl Association {
    /// The first handle of an association.
    pub(crate) fn new(channel: Arc<Channel>, stack: Arc<Shared>) -> Association {
        Association { guard: Arc::new(Guard { channel, _stack: stack }) }
    }

    /// Waits until the association is established.
    pub(crate) async fn connected(&self) -> Result<(), ConnectError> {
        let channel = self.channel();
        let attempt = || match (channel.ended(), channel.established()) {
            (Some(ended), _) => Poll::Ready(Err(ConnectError::from(ended))),
            (None, Some(_)) => Poll::Ready(Ok(())),
            (None, None) => Poll::Pending,
        };
        channel.phase_changed().until(attempt).await
    }

    fn channel(&self) -> &Channel {
        &self.guard.channel
    }
}

/// Messages.
impl Association {
    /// Sends a message: waits until there is room for it and gives it to the stack (RFC 9260
    /// §11.1.5), to the address that the message names or to where messages go now. That it has arrived is known only from a [`close`](Association::close) without error,
    /// or from the peer.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has not sent anything; the message
    /// is dropped with it.
    ///
    /// # Errors
    /// When the association has ended or is closing, or the message cannot be sent as it is.
    pub async fn send(&self, message: Message) -> Result<(), SendError> {
        let channel = self.channel();
        let mut waiting = match self.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Refused(error)) => return Err(error),
            Err(TrySendError::Full(message)) => Some(message),
        };
        let attempt = || match waiting.take().map(|message| self.try_send(message)) {
            Some(Err(TrySendError::Full(message))) => {
                waiting = Some(message);
                Poll::Pending
            }
            Some(Err(TrySendError::Refused(error))) => Poll::Ready(Err(error)),
            Some(Ok(())) | None => Poll::Ready(Ok(())),
        };
        channel.writable().until(attempt).await
    }

    /// Sends a message if there is room for it now.
    ///
    /// # Errors
    /// [`TrySendError::Full`] gives the message back; the others are those of
    /// [`send`](Association::send).
    pub fn try_send(&self, message: Message) -> Result<(), TrySendError> {
        if let Some(address) = message.destination
            && !self.peer_addresses().contains(&address)
        {
            return Err(TrySendError::Refused(SendError::NoSuchPath(address)));
        }
        let (stream, len) = (message.stream, message.payload.len());
        self.channel().try_send(message).map_err(|refused| TrySendError::from_refused(refused, stream, len))
    }

    /// Receives the next message (RFC 9260 §11.1.7), of whatever stream: [`ReceivedMessage::stream`] says
    /// which. (To receive on one stream only, as that section lets a stack offer, would have unread messages of the others
    /// fill the receive window that all streams share.) `None` when the association has ended in order and every
    /// message has been received.
    ///
    /// With [`AssociationConfig::partial_delivery_point`](crate::AssociationConfig::partial_delivery_point) a long message comes in parts:
    /// [`ReceivedMessage::part`] says which. If the rest of one will never come,
    /// [`Notification::PartialDeliveryAborted`] tells.
    ///
    /// The payload may lie in the memory that the network interface wrote it to. Keeping many
    /// messages for long is allowed: when that memory runs short, payloads are copied out.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has not taken a message.
    ///
    /// # Errors
    /// When the association has been lost or aborted, after the messages that had arrived.
    pub async fn recv(&self) -> Result<Option<ReceivedMessage>, RecvError> {
        let channel = self.channel();
        let attempt = || match channel.try_recv() {
            Ok(Some(message)) => Poll::Ready(Ok(Some(message))),
            Ok(None) => Poll::Pending,
            Err(ended) => Poll::Ready(in_order(ended, RecvError::Lost, RecvError::Stopped).map(|()| None)),
        };
        channel.readable().until(attempt).await
    }

    /// The next message if one is there; `None` if not, also after the end.
    pub fn try_recv(&self) -> Option<ReceivedMessage> {
        self.channel().try_recv().ok().flatten()
    }
}

/// The end.
impl Association {
    /// Ends the association gracefully: what was sent arrives, then SHUTDOWN (RFC 9260 §9.2), and
    /// the future is ready when the peer has agreed. Nothing can be received any more: messages
    /// that are unread and those that still come are thrown away. To read to the end call
    /// [`shutdown`](Association::shutdown) and go on with [`recv`](Association::recv).
    ///
    /// Cancel-safe: the end goes on if the future is dropped.
    ///
    /// # Errors
    /// When the association ended in another way, so that messages may not have arrived.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.channel().shutdown(true);
        in_order(self.ended().await, CloseError::Lost, CloseError::Stopped)?;
        match self.channel().unsent() {
            0 => Ok(()),
            messages => Err(CloseError::Unsent { messages }),
        }
    }

    /// Begins a graceful end and returns. No more messages are taken; those of the peer can be
    /// received until [`recv`](Association::recv) returns `None`.
    pub fn shutdown(&self) {
        self.channel().shutdown(false);
    }

    /// Ends the association at once: what was not acknowledged is lost. The peer is told `reason`
    /// (RFC 9260 §3.3.10.12).
    pub fn abort(&self, reason: impl Into<Bytes>) {
        self.channel().abort(reason.into());
    }

    /// Waits until the association has ended, however that came. `None` when it ended because the
    /// stack stopped.
    ///
    /// Cancel-safe.
    pub async fn closed(&self) -> Option<CloseReason> {
        match self.ended().await {
            Ended::Closed(reason) => Some(reason.clone()),
            Ended::Stopped(_) => None,
        }
    }

    /// Whether messages can be sent: established, and neither side has begun to end it.
    pub fn is_open(&self) -> bool {
        self.channel().is_open()
    }

    async fn ended(&self) -> &Ended {
        let channel = self.channel();
        let attempt = || channel.ended().map_or(Poll::Pending, Poll::Ready);
        channel.phase_changed().until(attempt).await
    }
}

/// Facts.
impl Association {
    /// Names the association among those of its worker; the same in logs, statistics and captures.
    pub fn id(&self) -> AssociationId {
        self.channel().id()
    }

    /// Which worker owns the association.
    pub fn worker(&self) -> u16 {
        self.channel().mailbox().index()
    }

    /// Our port.
    pub fn local_port(&self) -> u16 {
        self.channel().established().map_or(0, |established| established.local_port)
    }

    /// The peer's port.
    pub fn peer_port(&self) -> u16 {
        self.channel().established().map_or(0, |established| established.peer_port)
    }

    /// The peer's addresses as they were when the association was set up, the primary path's first.
    pub fn peer_addresses(&self) -> &[IpAddr] {
        self.channel().established().map_or(&[], |established| &established.peer_addresses)
    }

    /// How many streams we may send on; they are numbered from 0.
    pub fn outbound_streams(&self) -> u16 {
        self.channel().streams().0
    }

    /// How many streams the peer may send on.
    pub fn inbound_streams(&self) -> u16 {
        self.channel().streams().1
    }

    /// A picture of the association as it is now: its state, its paths with their round-trip times and windows, what waits
    /// (RFC 9260 §11.1.8, §11.1.11).
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the association has ended.
    pub async fn status(&self) -> Result<AssociationStatus, PathError> {
        self.act(|endpoint, _, id| endpoint.status(id).ok_or(AssociationError::NoAssociation)).await
    }

    /// Makes another of the peer's addresses the primary path: where messages go while it works
    /// (RFC 9260 §11.1.6).
    ///
    /// Cancel-safe: a dropped future may have changed the path or not.
    ///
    /// # Errors
    /// When the association has ended, or the address is not one of the peer's.
    pub async fn set_primary(&self, address: IpAddr) -> Result<(), PathError> {
        self.act(move |endpoint, now, id| endpoint.set_primary(now, id, address)).await
    }

    /// Has packets to an address of the peer go in UDP to this port (RFC 6951), or directly over IP, until a packet of the peer comes from
    /// there and tells better (SCTP_REMOTE_UDP_ENCAPS_PORT, RFC 6951 §6.1).
    ///
    /// Cancel-safe: a dropped future may have changed it or not.
    ///
    /// # Errors
    /// When the association has ended, the address is not one of the peer's, or the stack has no UDP port of its own.
    pub async fn set_remote_udp_port(&self, address: IpAddr, port: Option<NonZeroU16>) -> Result<(), PathError> {
        self.act(move |endpoint, now, id| endpoint.set_remote_udp_port(now, id, address, port)).await
    }

    /// Makes an address of ours the source of the packets, on every path that it can be the source of: the source transport
    /// address of SET PRIMARY (RFC 9260 §11.1.6).
    ///
    /// Cancel-safe: a dropped future may have changed it or not.
    ///
    /// # Errors
    /// When the association has ended, or the peer has not been told of the address.
    pub async fn set_source(&self, source: IpAddr) -> Result<(), PathError> {
        self.act(move |endpoint, now, id| endpoint.set_source(now, id, source)).await
    }

    /// Sets how many errors in a row a path may have before it is inactive: its own Path.Max.Retrans, 0 to 1000 (RFC 9260
    /// §11.1.12). That of all paths without one is changed by [`configure`](Association::configure).
    ///
    /// Cancel-safe: a dropped future may have changed it or not.
    ///
    /// # Errors
    /// When the association has ended, the address is not one of the peer's, or the threshold is above 1000.
    pub async fn set_failure_threshold(&self, address: IpAddr, threshold: u32) -> Result<(), PathError> {
        self.act(move |endpoint, now, id| endpoint.set_failure_threshold(now, id, address, threshold)).await
    }

    /// Turns the heartbeat of a path on, with this HB.interval, or off with `None`; that of all paths if `address` is `None`
    /// (RFC 9260 §11.1.9).
    ///
    /// Cancel-safe: a dropped future may have changed it or not.
    ///
    /// # Errors
    /// When the association has ended, the address is not one of the peer's, or the interval is below 10 ms.
    pub async fn set_heartbeat(&self, address: Option<IpAddr>, interval: Option<Duration>) -> Result<(), PathError> {
        self.act(move |endpoint, now, id| endpoint.set_heartbeat(now, id, address, interval)).await
    }

    /// Has a HEARTBEAT sent on a path now (RFC 9260 §11.1.10). [`status`](Association::status) tells the path's round-trip time when
    /// it has been answered, and [`Notification::PathChanged`] what has become of the path.
    ///
    /// Cancel-safe: a dropped future may have had it sent or not.
    ///
    /// # Errors
    /// When the association has ended, or the address is not one of the peer's.
    pub async fn request_heartbeat(&self, address: IpAddr) -> Result<(), PathError> {
        self.act(move |endpoint, now, id| endpoint.request_heartbeat(now, id, address)).await
    }

    /// Changes settings of the association from now on (RFC 9260 §11.1.13): timers, thresholds, delays. Those that the
    /// peer knows of cannot be changed.
    ///
    /// Cancel-safe: a dropped future may have changed them or not.
    ///
    /// # Errors
    /// When the association has ended, or a setting is out of its range or cannot be changed; then none is.
    pub async fn configure(
        &self,
        change: impl FnOnce(&mut AssociationConfig) + Send + 'static,
    ) -> Result<(), PathError> {
        self.act(move |endpoint, now, id| endpoint.configure(now, id, change)).await
    }

    /// Has the association's worker do something with it.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Endpoint, Instant, AssociationId) -> Result<T, AssociationError> + Send + 'static,
    ) -> Result<T, PathError> {
        let id = self.id();
        let (reply, answer) = oneshot::channel();
        let command = Command::Act(Box::new(move |endpoint, now| {
            // Whoever asked may have given up.
            let _ = reply.send(act(endpoint, now, id));
        }));
        self.channel().mailbox().command(command).map_err(|_| PathError::Ended)?;
        answer.await.map_err(|_| PathError::Ended)?.map_err(PathError::from)
    }

    /// What happens to the association from now on, besides its messages. Every subscriber gets
    /// everything.
    pub fn notifications(&self) -> Notifications {
        Notifications { subscription: self.channel().subscribe(), place: Place::default(), association: self.clone() }
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("id", &self.id())
            .field("worker", &self.worker())
            .field("local_port", &self.local_port())
            .field("peer_port", &self.peer_port())
            .field("peer_addresses", &self.peer_addresses())
            .finish_non_exhaustive()
    }
}

/// The notifications of an association, as a stream that ends with the association.
///
/// Keeps the association alive, as a handle does. A subscriber that falls more than 256
/// notifications behind loses the oldest, and is told how many ([`Notification::Missed`]).
pub struct Notifications {
    subscription: Arc<Subscription>,
    place: Place,
    association: Association,
}

impl Notifications {
    /// The next notification; `None` after the last.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has not taken a notification.
    pub async fn next(&mut self) -> Option<Notification> {
        let subscription = &self.subscription;
        let attempt = || match subscription.next() {
            Ok(Some(notification)) => Poll::Ready(Some(notification)),
            Ok(None) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        };
        subscription.waiting().until(attempt).await
    }

    /// The association that they are about.
    pub fn association(&self) -> &Association {
        &self.association
    }
}

impl Stream for Notifications {
    type Item = Notification;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Notification>> {
        let Notifications { subscription, place, .. } = self.get_mut();
        subscription.waiting().poll(place, context, || match subscription.next() {
            Ok(Some(notification)) => Poll::Ready(Some(notification)),
            Ok(None) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        })
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.subscription.waiting().forget(&mut self.place);
    }
}

impl fmt::Debug for Notifications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifications").field("association", &self.association).finish_non_exhaustive()
    }
}
