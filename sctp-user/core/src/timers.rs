//! The timers of an association (RFC 9260 §5.1, §6.2, §6.3, §8.3, §9.2).
//!
//! Where a timer is kept says when it can run: T1 and T2 lie in the state that they belong to, T3 and the heartbeat in their
//! path. The endpoint's wheel knows only the earliest of them.

/// A timer that has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// When to send the INIT again, or to give up (T1-init).
    T1Init,
    /// When to send the COOKIE ECHO again, or to give up (T1-cookie).
    T1Cookie,
    /// When to send SHUTDOWN or SHUTDOWN ACK again, or to give up (T2-shutdown).
    T2Shutdown,
    /// When a shutdown has taken too long (T5-shutdown-guard).
    T5ShutdownGuard,
    /// When a SACK can be delayed no longer.
    Sack,
    /// When DATA in flight on this path counts as lost (T3-rtx); or, if none is, when to probe a closed window.
    T3Rtx(usize),
    /// When to send a HEARTBEAT on this path, or to count the last one as unanswered.
    Heartbeat(usize),
    /// When DATA that waits for its turn by pacing may go on this path.
    Pacing(usize),
    /// When to give back memory that traffic has left behind; without heartbeats only, which do it otherwise.
    Release,
    /// When to probe the PMTU of this path, or to count the last probe as lost (RFC 8899 §5.1.1).
    PathMtu(usize),
}
