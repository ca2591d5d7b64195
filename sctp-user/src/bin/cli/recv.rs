//! `sctp recv`: writes the messages that come to standard output, one a line, or to files.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use sctp_user::{Association, ListenOptions, ReceivedMessage};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::echo::finish;
use super::node::Node;
use super::notices::Notices;
use super::options::StackOptions;
use super::progress::print_line;
use super::serve::Inbox;
use super::signals::Stop;
use super::table;

/// Messages that may wait to be written before associations are slowed down.
const QUEUE: usize = 256;

/// Options of `sctp recv`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecvOptions {
    /// SCTP port to listen on
    #[arg(short, long, default_value_t = 5001, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// End after so many messages [default: receive until SIGINT or SIGTERM]
    #[arg(short = 'n', long, value_name = "N", value_parser = super::values::positive_count)]
    pub(crate) count: Option<u64>,

    /// Write each message to a file of its own in this directory (000001, 000002, …) instead of to standard output
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Do not print the line that says that the stack is ready: standard output has the messages alone
    #[arg(short, long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) stack: StackOptions,
}

/// Runs the subcommand.
pub(crate) async fn run(options: RecvOptions) -> Result<()> {
    let stop = Stop::on_signals()?;
    let mut writer = Writer::new(options.out.as_deref())?;
    let node = Node::open(&options.stack)?;
    let result = async {
        let config = options.stack.association.config(2048);
        let mut listener = node.stack().listen(options.port, ListenOptions::default().association(config)).await?;
        if !options.quiet {
            print_line(&node.ready_line(options.port).await);
        }
        let (to_writer, mut messages) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let result = loop {
            if options.count.is_some_and(|count| writer.messages >= count) {
                break Ok(());
            }
            tokio::select! {
                association = listener.accept() => {
                    tasks.spawn(take(association?, to_writer.clone(), stop.clone()));
                }
                Some(message) = messages.recv() => {
                    if let Err(error) = writer.write(&message) {
                        break Err(error);
                    }
                }
                Some(ended) = tasks.join_next() => {
                    if let (peer, Err(error)) = ended? {
                        eprintln!("{peer}: {}", super::failure::sentence(&error));
                    }
                }
                () = stop.wished() => break Ok(()),
            }
        };
        drop(listener);
        // What had come before the wish to end is written too, unless enough is.
        messages.close();
        while let Some(message) = messages.recv().await {
            if result.is_err() || options.count.is_some_and(|count| writer.messages >= count) {
                break;
            }
            writer.write(&message)?;
        }
        stop.now();
        drop(messages);
        tasks.join_all().await;
        eprintln!("{} messages ({} bytes) received", table::thousands(writer.messages), table::thousands(writer.bytes));
        result
    }
    .await;
    node.close_after(result).await
}

/// Passes the messages of an association on until it ends.
async fn take(association: Association, writer: mpsc::Sender<ReceivedMessage>, stop: Stop) -> (SocketAddr, Result<()>) {
    let peer = SocketAddr::new(association.peer_addresses()[0], association.peer_port());
    let result = async {
        let mut notices = Notices::of(&association, false);
        let mut inbox = Inbox::new(&association, &mut notices, &stop);
        while let Some(message) = inbox.next().await? {
            if writer.send(message).await.is_err() {
                break;
            }
        }
        finish(&association, &stop).await
    };
    (peer, result.await)
}

/// Where messages go.
struct Writer<'a> {
    directory: Option<&'a Path>,
    messages: u64,
    bytes: u64,
}

impl<'a> Writer<'a> {
    fn new(directory: Option<&'a Path>) -> Result<Self> {
        if let Some(directory) = directory {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        }
        Ok(Self { directory, messages: 0, bytes: 0 })
    }

    fn write(&mut self, message: &ReceivedMessage) -> Result<()> {
        self.messages += 1;
        self.bytes += message.len() as u64;
        let fragments = message.payload.iter();
        match self.directory {
            Some(directory) => {
                let path = directory.join(format!("{:06}", self.messages));
                let write = || {
                    let mut file = fs::File::create(&path)?;
                    fragments.clone().try_for_each(|fragment| file.write_all(fragment))
                };
                write().with_context(|| format!("cannot write {}", path.display()))
            }
            None => {
                let mut out = io::stdout().lock();
                fragments
                    .map(|fragment| &fragment[..])
                    .chain([&b"\n"[..]])
                    .try_for_each(|part| out.write_all(part))
                    .and_then(|()| out.flush())
                    .context("cannot write to standard output")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn files_are_numbered_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/deep");
        let mut writer = Writer::new(Some(&path)).unwrap();
        for fragments in [vec!["a"], vec!["he", "llo"]] {
            let payload = fragments.into_iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
            let message = ReceivedMessage {
                stream: 0,
                ssn: 0,
                ppid: 0,
                unordered: false,
                part: sctp_user::MessagePart::Whole,
                payload,
            };
            writer.write(&message).unwrap();
        }
        assert_eq!(fs::read(path.join("000001")).unwrap(), b"a");
        assert_eq!(fs::read(path.join("000002")).unwrap(), b"hello");
        assert_eq!((writer.messages, writer.bytes), (2, 6));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = Writer::new(Some(Path::new("/proc/none/such"))).err().unwrap();
        assert!(crate::cli::failure::sentence(&error).starts_with("cannot make the directory /proc/none/such: "));
    }
}
