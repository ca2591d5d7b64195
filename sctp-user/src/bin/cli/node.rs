//! The stack that a subcommand runs on, with what belongs to it: the capture file and the statistics service.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use sctp_user::telemetry::capture::Capture;
use sctp_user::telemetry::drops::DropsService;
use sctp_user::telemetry::pcapng::LinkType;
use sctp_user::telemetry::service::StatsService;
use sctp_user::telemetry::{self, StackSnapshot};
use sctp_user::{Association, CloseReason, ConnectOptions, Stack};
use tokio::time::timeout;

use super::options::{OutOfTheBlue, StackOptions};
use super::signals::Stop;
use super::table;
use super::values::Peer;

/// How long a graceful end may take.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// A running stack.
#[derive(Debug)]
pub(crate) struct Node {
    stack: Stack,
    capture: Option<Capture>,
    services: Vec<(Option<StatsService>, Option<DropsService>)>,
}

impl Node {
    /// Opens the stack that the options describe.
    pub(crate) fn open(options: &StackOptions) -> Result<Self> {
        let mut builder = Stack::builder().trusted_link(options.trusted_link).checksum(options.checksum);
        builder = builder.fragments(options.fragments.into()).xdp_heartbeats(options.xdp_heartbeats);
        builder = builder.init_cookies(options.init_cookies.into()).init_threshold(options.init_threshold);
        builder = builder.silent_out_of_the_blue(options.ootb == OutOfTheBlue::Silent);
        for interface in &options.interfaces {
            builder = builder.interface(interface);
        }
        if let Some(directory) = &options.keep_program {
            builder = builder.keep_programs(directory);
        }
        if let Some(workers) = options.workers {
            builder = builder.workers(workers);
        }
        if let Some(queues) = options.queues {
            builder = builder.queues(queues);
        }
        for address in &options.local_addresses {
            builder = builder.local_address(*address);
        }
        if let Some(port) = options.udp_port {
            builder = builder.udp_port(port);
        }
        let capture = match &options.capture {
            Some(file) => {
                let capture = Capture::start(file, LinkType::Ethernet, interface_name)
                    .with_context(|| format!("cannot write the capture file {}", file.display()))?;
                builder = builder.capture(capture.sink());
                Some(capture)
            }
            None => None,
        };
        let stack = builder.build()?;
        let serve = |name: &String| (serve_statistics(&stack, name), serve_drops(&stack, name));
        let services = options.interfaces.iter().map(serve).collect();
        Ok(Self { stack, capture, services })
    }

    /// A stack on links of this program's own.
    pub(crate) fn on(stack: Stack, capture: Option<Capture>) -> Self {
        Self { stack, capture, services: Vec::new() }
    }

    /// The stack.
    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Sets up an association, unless it takes longer than `patience` or `stop` comes first.
    ///
    /// The protocol by itself would try for minutes, which suits nodes of a network and nobody at a terminal.
    pub(crate) async fn connect(
        &self,
        peer: &Peer,
        options: ConnectOptions,
        patience: Duration,
        stop: &Stop,
    ) -> Result<Association> {
        let options = peer.addresses[1..].iter().fold(options, |options, address| options.peer_address(*address));
        let result = tokio::select! {
            result = timeout(patience, self.stack.connect(peer.primary(), options)) => match result {
                Ok(result) => result.map_err(anyhow::Error::from),
                Err(_) => Err(CloseReason::ConnectTimeout.into()),
            },
            () = stop.wished() => Err(anyhow!("interrupted")),
        };
        result.with_context(|| format!("cannot connect to {peer}"))
    }

    /// What a server says when it is ready.
    pub(crate) async fn ready_line(&self, port: u16) -> String {
        let snapshot = self.snapshot().await;
        match &snapshot.af_xdp {
            Some(af_xdp) => format!(
                "listening on {} port {port} ({})",
                snapshot.interfaces.join(", "),
                table::describe_af_xdp(af_xdp)
            ),
            None => format!("listening in memory port {port}"),
        }
    }

    /// A picture of the stack.
    pub(crate) async fn snapshot(&self) -> StackSnapshot {
        telemetry::snapshot(&self.stack).await
    }

    /// Ends everything: associations gracefully within [`GRACE`], what is left by ABORT. Says on standard error what was
    /// captured.
    pub(crate) async fn close(self) -> Result<()> {
        drop(self.services);
        self.stack.close(GRACE).await;
        drop(self.stack);
        if let Some(capture) = self.capture {
            let summary = capture.finish().context("the capture file could not be written to its end")?;
            eprintln!("{summary}");
        }
        Ok(())
    }

    /// Closes the stack whatever `result` is, and gives the first error of the two.
    pub(crate) async fn close_after<T>(self, result: Result<T>) -> Result<T> {
        let closed = self.close().await;
        let value = result?;
        closed.map(|()| value)
    }
}

/// Statistics are a service beside the work: where another stack serves the same name, this one works without.
fn serve_statistics(stack: &Stack, interface: &str) -> Option<StatsService> {
    match StatsService::start(stack, interface) {
        Ok(service) => Some(service),
        Err(error) => {
            tracing::warn!(%error, interface, "`sctp stats` will not see this stack");
            None
        }
    }
}

/// Likewise.
fn serve_drops(stack: &Stack, interface: &str) -> Option<DropsService> {
    DropsService::start(stack, interface).unwrap_or_else(|error| {
        tracing::warn!(%error, interface, "`sctp drops` will not see this stack");
        None
    })
}

/// The name of a network interface; its number where it has gone.
fn interface_name(index: u32) -> String {
    let lookup = || -> io::Result<String> {
        let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
        Ok(rustix::net::netdevice::index_to_name(socket, index)?)
    };
    lookup().unwrap_or_else(|_| format!("interface {index}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_names() {
        assert_eq!(interface_name(1), "lo");
        assert_eq!(interface_name(u32::MAX), "interface 4294967295");
    }
}
