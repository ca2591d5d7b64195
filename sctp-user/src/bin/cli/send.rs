//! `sctp send`: sends lines of standard input, or files, one message each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use sctp_user::{Association, CloseReason, ConnectOptions, Message};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::echo::finish;
use super::node::Node;
use super::options::StackOptions;
use super::signals::Stop;
use super::table;
use super::values::{self, Peer, SizeRange};

/// Options of `sctp send`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SendOptions {
    /// Where to: ADDR:PORT, an IPv6 address in brackets; more addresses of the same peer after commas
    #[arg(value_name = "ADDR:PORT")]
    pub(crate) peer: Peer,

    /// Files to send, each as one message of at most 256 KiB. Without files each line of standard input is a message
    /// (empty lines are left out: a message has at least one byte)
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Stream to send on
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..65535))]
    pub(crate) stream: u16,

    /// Payload protocol identifier (0 for none, 60 for NGAP …)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) ppid: u32,

    /// Send messages unordered (U bit)
    #[arg(long)]
    pub(crate) unordered: bool,

    /// Give up when the peer has not answered for this time
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) stack: StackOptions,
}

/// Runs the subcommand.
pub(crate) async fn run(options: SendOptions) -> Result<()> {
    let stop = Stop::on_signals()?;
    // All of them, before anything is sent.
    let files = options.files.iter().map(read).collect::<Result<Vec<_>>>()?;
    let node = Node::open(&options.stack)?;
    let result = async {
        let config = options.stack.association.config(options.stream + 1);
        let settings = ConnectOptions::default().association(config);
        let association = node.connect(&options.peer, settings, options.timeout, &stop).await?;
        let mut sent = Sent::default();
        let result = tokio::select! {
            result = send_all(&association, &options, files, &mut sent) => result,
            lost = discard_replies(&association) => Err(lost),
            () = stop.wished() => Err(anyhow!("interrupted")),
        };
        let result = result.and(finish(&association, &stop).await);
        let figures = format!("{} messages ({} bytes)", table::thousands(sent.messages), table::thousands(sent.bytes));
        match &result {
            Ok(()) => eprintln!("{figures} sent to {} and acknowledged", options.peer),
            Err(_) => eprintln!("{figures} given to the stack, not all of them may have arrived"),
        }
        result.with_context(|| format!("sending to {} broke off", options.peer))
    }
    .await;
    node.close_after(result).await
}

/// What was given to the stack.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    messages: u64,
    bytes: u64,
}

async fn send_all(association: &Association, options: &SendOptions, files: Vec<Bytes>, sent: &mut Sent) -> Result<()> {
    let mut send = async |payload: Bytes| {
        let size = payload.len() as u64;
        let message = Message::new(options.stream, payload).with_ppid(options.ppid).with_unordered(options.unordered);
        association.send(message).await?;
        sent.messages += 1;
        sent.bytes += size;
        anyhow::Ok(())
    };
    if !files.is_empty() {
        for file in files {
            send(file).await?;
        }
        return Ok(());
    }
    let mut lines = BufReader::new(tokio::io::stdin()).split(b'\n');
    while let Some(line) = lines.next_segment().await.context("cannot read standard input")? {
        if !line.is_empty() {
            send(line.into()).await?;
        }
    }
    Ok(())
}

/// Takes what the peer sends, so that it need not wait for us; gives the reason when the association ends.
async fn discard_replies(association: &Association) -> anyhow::Error {
    while let Ok(Some(_)) = association.recv().await {}
    match association.closed().await {
        Some(CloseReason::Shutdown) => anyhow!("the peer has ended the association"),
        Some(reason) => reason.into(),
        None => anyhow!("the stack has stopped"),
    }
}

fn read(file: &PathBuf) -> Result<Bytes> {
    let name = file.display();
    let octets = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
    match octets.len() {
        0 => bail!("{name} is empty: a message has at least one byte"),
        size if size > SizeRange::LARGEST => {
            let largest = SizeRange::LARGEST;
            bail!("{name} has {size} bytes: a message may have at most {largest}; split the file")
        }
        _ => Ok(octets.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::sentence;

    #[test]
    fn files_that_cannot_be_a_message_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("message");
        let error = |path: &PathBuf| sentence(&read(path).unwrap_err());
        assert!(error(&path).contains("cannot read"));
        std::fs::write(&path, b"").unwrap();
        assert!(error(&path).ends_with("message is empty: a message has at least one byte"));
        std::fs::write(&path, vec![0; SizeRange::LARGEST + 1]).unwrap();
        assert!(error(&path).contains("has 262145 bytes"));
        std::fs::write(&path, b"hello").unwrap();
        assert_eq!(read(&path).unwrap(), Bytes::from_static(b"hello"));
        assert!(error(&directory.path().to_owned()).contains("cannot read"));
    }
}
