//! `sctp echo`: returns every message as it came.

use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use sctp_user::Association;
use tokio::time::timeout;

use super::node::GRACE;
use super::options::StackOptions;
use super::serve::{self, Inbox, Served, ServerOptions};
use super::signals::Stop;

/// Options of `sctp echo`.
#[derive(Args, Clone, Debug)]
pub(crate) struct EchoOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,

    #[command(flatten)]
    pub(crate) stack: StackOptions,
}

/// Runs the subcommand.
pub(crate) async fn run(options: EchoOptions) -> Result<()> {
    serve::run(&options.stack, &options.server, echo).await
}

/// Serves one association.
async fn echo(association: Association, stop: Stop) -> Served {
    let mut served = Served::new(&association);
    let result = async {
        let mut inbox = Inbox::new(&association, &stop);
        while let Some(message) = inbox.next().await? {
            served.count(&message);
            served.echo(&association, message).await?;
        }
        finish(&association).await
    }
    .await;
    served.end(result)
}

/// Ends an association in order, which it may have been already.
pub(crate) async fn finish(association: &Association) -> Result<()> {
    let grace: Duration = GRACE;
    timeout(grace, association.close())
        .await
        .map_err(|_| anyhow!("the association did not end within {grace:?}"))?
        .map_err(anyhow::Error::from)
}
