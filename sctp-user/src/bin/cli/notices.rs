//! What an association tells besides its messages: kept for the summary, shown as it comes.

use std::net::IpAddr;
use std::time::Instant;

use futures_util::FutureExt as _;
use sctp_user::{Association, Notification, Notifications};
use serde::Serialize;

use super::progress::print_json;

/// Most notices that are kept for one association; a path that comes and goes for hours makes many.
const KEPT: usize = 1000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Notice {
    /// Seconds since the association was taken up.
    pub(crate) seconds: f64,
    #[serde(flatten)]
    pub(crate) event: NoticedEvent,
}

/// What happened. The names in JSON are those of the notifications in words: `path-changed`, `restarted` …
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum NoticedEvent {
    /// A path changed its state.
    PathChanged { address: IpAddr, state: String },
    /// Another path is the primary one.
    PrimaryChanged { address: IpAddr },
    /// The peer restarted.
    Restarted { outbound_streams: u16, inbound_streams: u16 },
    /// The peer reports an error that is not fatal.
    RemoteError { cause: u16 },
    /// A message was not, or not surely, delivered.
    SendFailed { stream: u16, sent: bool },
    /// The peer has asked for an orderly end.
    PeerShutdown,
}

impl NoticedEvent {
    /// What is worth a notice; the others are seen elsewhere.
    fn from_notification(notification: Notification) -> Option<Self> {
        Some(match notification {
            Notification::PathChanged { address, state } => {
                Self::PathChanged { address, state: hyphenated(&format!("{state:?}")) }
            }
            Notification::PrimaryChanged { address } => Self::PrimaryChanged { address },
            Notification::Restarted { outbound_streams, inbound_streams } => {
                Self::Restarted { outbound_streams, inbound_streams }
            }
            Notification::RemoteError { error } => Self::RemoteError { cause: error.code() },
            Notification::SendFailed { stream, sent, .. } => Self::SendFailed { stream, sent },
            Notification::PeerShutdown => Self::PeerShutdown,
            _ => return None,
        })
    }
}

/// The notices of one association.
#[derive(Debug)]
pub(crate) struct Notices {
    /// `None` after the last.
    notifications: Option<Notifications>,
    begin: Instant,
    /// Show each at once as an object of JSON.
    shown: bool,
    kept: Vec<Notice>,
}

impl Notices {
    /// Those that come from now on. `shown`: each is printed as a line of JSON, too; the log has them anyway (`-v`).
    pub(crate) fn of(association: &Association, shown: bool) -> Self {
        Self { notifications: Some(association.notifications()), begin: Instant::now(), shown, kept: Vec::new() }
    }

    /// Waits for the next notice and takes it down; for ever after the last.
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) {
        match &mut self.notifications {
            Some(notifications) => match notifications.next().await {
                Some(notification) => self.note(notification),
                None => self.notifications = None,
            },
            None => std::future::pending().await,
        }
    }

    /// All notices, those that have come and were not waited for among them.
    pub(crate) fn finish(mut self) -> Vec<Notice> {
        while let Some(Some(notification)) =
            self.notifications.as_mut().and_then(|notifications| notifications.next().now_or_never())
        {
            self.note(notification);
        }
        self.kept
    }

    fn note(&mut self, notification: Notification) {
        let Some(event) = NoticedEvent::from_notification(notification) else { return };
        let notice = Notice { seconds: self.begin.elapsed().as_secs_f64(), event };
        tracing::info!(?notice, "an association tells");
        if self.shown {
            print_json(&serde_json::json!({ "notice": notice }));
        }
        if self.kept.len() < KEPT {
            self.kept.push(notice);
        }
    }
}

/// `PotentiallyFailed` as `potentially-failed`.
fn hyphenated(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use sctp_user::PathState;

    use super::*;

    #[test]
    fn notices_have_names() {
        let address = "10.0.0.1".parse().unwrap();
        let changed = Notification::PathChanged { address, state: PathState::Inactive };
        let event = NoticedEvent::from_notification(changed).unwrap();
        let json = serde_json::to_value(Notice { seconds: 1.5, event }).unwrap();
        let expected =
            serde_json::json!({ "seconds": 1.5, "event": "path-changed", "address": "10.0.0.1", "state": "inactive" });
        assert_eq!(json, expected);
        let restarted = Notification::Restarted { outbound_streams: 3, inbound_streams: 4 };
        let event = NoticedEvent::from_notification(restarted).unwrap();
        assert_eq!(serde_json::to_value(event).unwrap()["event"], "restarted");
        assert_eq!(NoticedEvent::from_notification(Notification::Closed { reason: None, last_tsns: None }), None);
        assert_eq!(hyphenated("PotentiallyFailed"), "potentially-failed");
    }
}
