//! `sctp echo`: returns every message as it came.

use anyhow::{Result, anyhow};
use bytes::Bytes;
use clap::Args;
use sctp_user::{Association, CloseReason};

use super::node::GRACE;
use super::notices::Notices;
use super::options::StackOptions;
use super::serve::{self, Inbox, Served, ServerOptions};
use super::signals::Stop;
use super::values::positive_count;

/// Options of `sctp echo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EchoOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,

    /// End each association by ABORT when so many of its messages have been answered
    #[arg(long, value_name = "N", value_parser = positive_count)]
    pub(crate) abort_after: Option<u64>,

    /// The reason that peers are given with --abort-after
    #[arg(long, value_name = "REASON", default_value = "enough")]
    pub(crate) abort_reason: String,

    #[command(flatten)]
    pub(crate) stack: StackOptions,
}

/// Runs the subcommand.
pub(crate) async fn run(options: EchoOptions) -> Result<()> {
    let abort_after = options.abort_after.map(|count| (count, Bytes::from(options.abort_reason)));
    serve::run(&options.stack, &options.server, |association, notices, stop| {
        echo(association, notices, stop, abort_after.clone())
    })
    .await
}

/// Serves one association; with `abort_after`, until so many messages are answered, which it then aborts for that reason.
async fn echo(association: Association, mut notices: Notices, stop: Stop, abort_after: Option<(u64, Bytes)>) -> Served {
    let mut served = Served::new(&association);
    let result = async {
        let mut inbox = Inbox::new(&association, &mut notices, &stop);
        while let Some(message) = inbox.next().await? {
            served.count(&message);
            served.echo(&association, message).await?;
            if let Some((count, reason)) = &abort_after
                && served.received() >= *count
            {
                return abort(&association, reason.clone(), &mut served).await;
            }
        }
        finish(&association, &stop).await
    };
    let result = stop.within(GRACE, result).await;
    served.end(result, notices)
}

/// Ends an association by ABORT.
async fn abort(association: &Association, reason: Bytes, served: &mut Served) -> Result<()> {
    association.abort(reason);
    match association.closed().await {
        Some(CloseReason::LocalAbort) => {
            served.set_aborted();
            Ok(())
        }
        Some(other) => Err(anyhow::Error::new(other).context("it could not be aborted")),
        None => Err(anyhow!("the stack has stopped")),
    }
}

/// Ends an association in order, which it may have been already. That takes as long as the peer needs to get what was sent, but
/// no longer than the grace once the program has been told to end.
pub(crate) async fn finish(association: &Association, stop: &Stop) -> Result<()> {
    stop.within(GRACE, async { Ok(association.close().await?) }).await
}
