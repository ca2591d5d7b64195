//! Runs commands in a guest, over its serial line: the host's side of `tests/peers/kernel_agent.c`, which describes the frames.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{Control, Output};
use crate::{Process, tool};

/// Kinds of frames to the guest.
mod to_guest {
    pub(super) const RUN: u8 = 1;
    pub(super) const INPUT: u8 = 2;
    pub(super) const SIGNAL: u8 = 3;
    pub(super) const POWER_OFF: u8 = 4;
}

/// Kinds of frames from the guest.
mod from_guest {
    pub(super) const READY: u8 = 16;
    pub(super) const STDOUT: u8 = 17;
    pub(super) const STDERR: u8 = 18;
    pub(super) const ENDED: u8 = 19;
}

/// The largest body of a frame that the agent takes, octets.
const LARGEST_BODY: usize = 1 << 16;

/// How long a command may take to die of SIGKILL.
const KILL: Duration = Duration::from_secs(60);

/// The line to a guest's agent.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    next: AtomicU16,
}

/// What the reading thread and the processes share.
#[derive(Debug)]
struct Shared {
    line: UnixStream,
    /// Held while a frame is written.
    writing: Mutex<()>,
    /// The commands that run. `None` when the line has come to its end.
    commands: Mutex<Option<HashMap<u16, Command>>>,
}

/// The reading thread's side of a command.
#[derive(Debug)]
struct Command {
    stdout: Sender<String>,
    unfinished_line: Vec<u8>,
    stderr: Sender<String>,
    stderr_so_far: Vec<u8>,
    status: Sender<ExitStatus>,
}

impl Link {
    /// Takes a line into use. The guest's release comes by the channel when its agent is there.
    pub(super) fn open(line: UnixStream) -> Result<(Self, Receiver<String>)> {
        let mut reader = line.try_clone().context("cannot clone a socket")?;
        let shared = Shared { line, writing: Mutex::default(), commands: Mutex::new(Some(HashMap::new())) };
        let shared = Arc::new(shared);
        let (ready, release) = channel();
        let of_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            // However the line ends, the commands have ended for us: their channels are closed.
            let _ = read_frames(&mut reader, &of_thread, &ready);
            lock(&of_thread.commands).take();
        });
        // 0 is the guest itself.
        Ok((Self { shared, next: AtomicU16::new(1) }, release))
    }

    /// Starts a command.
    pub(super) fn run(&self, words: &[&str]) -> Result<Process> {
        let line = words.iter().map(|word| tool::quoted(word)).collect::<Vec<_>>().join(" ");
        let line = format!("{line} (in the guest)");
        let body: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
        ensure!(body.len() <= LARGEST_BODY && !words.iter().any(|word| word.contains('\0')), "{line}: not a command");
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (stdout, stdout_receiver) = channel();
        let (stderr, stderr_receiver) = channel();
        let (status, status_receiver) = channel();
        let command = Command { stdout, unfinished_line: vec![], stderr, stderr_so_far: vec![], status };
        let mut commands = lock(&self.shared.commands);
        let running = commands.as_mut().with_context(|| format!("{line}: the guest has ended"))?;
        ensure!(running.insert(id, command).is_none(), "{line}: too many commands");
        drop(commands);
        self.shared.send(id, to_guest::RUN, &body).with_context(|| line.clone())?;
        let control = Remote { id, shared: Arc::clone(&self.shared), status: status_receiver };
        let output = Output { stdout: stdout_receiver, stderr: stderr_receiver };
        Ok(Process::new(line, Box::new(control), output))
    }

    /// Asks the agent to switch the guest off.
    pub(super) fn power_off(&self) -> io::Result<()> {
        self.shared.send(0, to_guest::POWER_OFF, &[])
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Ends the reading thread. Fails only if the guest has closed the line before.
        let _ = self.shared.line.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn send(&self, id: u16, kind: u8, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut frame = Vec::with_capacity(8 + body.len());
        frame.extend(length.to_le_bytes());
        frame.extend(id.to_le_bytes());
        frame.extend([kind, 0]);
        frame.extend(body);
        let _writing = lock(&self.writing);
        (&self.line).write_all(&frame)
    }
}

/// Hands out what the guest says until the line ends.
fn read_frames(line: &mut UnixStream, shared: &Shared, ready: &Sender<String>) -> io::Result<()> {
    loop {
        let mut header = [0; 8];
        line.read_exact(&mut header)?;
        let [l0, l1, l2, l3, id0, id1, kind, _] = header;
        let mut body = vec![0; u32::from_le_bytes([l0, l1, l2, l3]) as usize];
        line.read_exact(&mut body)?;
        let id = u16::from_le_bytes([id0, id1]);
        let mut commands = lock(&shared.commands);
        let Some(commands) = commands.as_mut() else { return Ok(()) };
        // A command that nobody has a guard for any more has ended for us; its output is of no interest.
        match (kind, commands.get_mut(&id)) {
            // Nobody listens if the guest was given up.
            (from_guest::READY, _) => drop(ready.send(String::from_utf8_lossy(&body).into_owned())),
            (from_guest::STDOUT, Some(command)) => command.take_stdout(&body),
            (from_guest::STDERR, Some(command)) => command.stderr_so_far.extend(&body),
            (from_guest::ENDED, Some(_)) => {
                let status = <[u8; 4]>::try_from(&body[..]).map_err(|_| io::ErrorKind::InvalidData)?;
                if let Some(command) = commands.remove(&id) {
                    command.end(ExitStatus::from_raw(i32::from_le_bytes(status)));
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Command {
    fn take_stdout(&mut self, data: &[u8]) {
        for part in data.split_inclusive(|octet| *octet == b'\n') {
            self.unfinished_line.extend(part);
            if part.ends_with(b"\n") {
                self.send_line();
            }
        }
    }

    fn send_line(&mut self) {
        let line = std::mem::take(&mut self.unfinished_line);
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        // The receivers are gone if the guard is; here and below.
        let _ = self.stdout.send(String::from_utf8_lossy(line).into_owned());
    }

    fn end(mut self, status: ExitStatus) {
        if !self.unfinished_line.is_empty() {
            self.send_line();
        }
        let _ = self.stderr.send(String::from_utf8_lossy(&self.stderr_so_far).into_owned());
        let _ = self.status.send(status);
    }
}

/// A guard's side of a command.
#[derive(Debug)]
struct Remote {
    id: u16,
    shared: Arc<Shared>,
    status: Receiver<ExitStatus>,
}

impl Control for Remote {
    fn id(&self) -> u32 {
        self.id.into()
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        // No data would close the command's stdin.
        data.chunks(LARGEST_BODY).try_for_each(|part| self.shared.send(self.id, to_guest::INPUT, part))
    }

    fn signal(&mut self, signal: i32) -> io::Result<()> {
        self.shared.send(self.id, to_guest::SIGNAL, &signal.to_le_bytes())
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match self.status.try_recv() {
            Ok(status) => Ok(Some(status)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(io::Error::other("the guest ended before the command")),
        }
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        self.signal(libc::SIGKILL).ok()?;
        self.status.recv_timeout(KILL).ok()
    }
}

/// No thread panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn frame(id: u16, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        frame.extend(id.to_le_bytes());
        frame.extend([kind, 0]);
        frame.extend(body);
        frame
    }

    /// A link, and the guest's end of it.
    fn link() -> (Link, Receiver<String>, UnixStream) {
        let (ours, its) = UnixStream::pair().unwrap();
        let (link, ready) = Link::open(ours).unwrap();
        (link, ready, its)
    }

    fn expect(line: &mut UnixStream, frame: &[u8]) {
        let mut read = vec![0; frame.len()];
        line.read_exact(&mut read).unwrap();
        assert_eq!(read, frame);
    }

    #[test]
    fn a_command_runs() {
        let (link, ready, mut guest) = link();
        guest.write_all(&frame(0, from_guest::READY, b"6.1")).unwrap();
        assert_eq!(ready.recv_timeout(SOON).unwrap(), "6.1");
        let mut process = link.run(&["cat", "-"]).unwrap();
        expect(&mut guest, &frame(1, to_guest::RUN, b"cat\0-\0"));
        process.write_line("word").unwrap();
        expect(&mut guest, &frame(1, to_guest::INPUT, b"word\n"));
        guest.write_all(&frame(1, from_guest::STDOUT, b"one\ntw")).unwrap();
        guest.write_all(&frame(1, from_guest::STDERR, b"rea")).unwrap();
        guest.write_all(&frame(1, from_guest::STDERR, b"son")).unwrap();
        guest.write_all(&frame(1, from_guest::STDOUT, b"o\nend")).unwrap();
        assert_eq!(process.wait_for_line("two", SOON).unwrap(), "two");
        process.signal(15).unwrap();
        expect(&mut guest, &frame(1, to_guest::SIGNAL, &[15, 0, 0, 0]));
        guest.write_all(&frame(1, from_guest::ENDED, &[0, 3, 0, 0])).unwrap();
        let finished = process.wait(SOON).unwrap();
        assert_eq!((finished.status.code(), finished.stderr.as_str()), (Some(3), "reason"));
        assert_eq!(finished.stdout, ["one", "two", "end"]);
    }

    #[test]
    fn the_end_of_the_guest_is_an_error() {
        let (link, ready, guest) = link();
        let mut process = link.run(&["sleep"]).unwrap();
        drop(guest);
        let error = format!("{:#}", process.wait(SOON).unwrap_err());
        assert!(error.contains("guest ended"), "{error}");
        assert!(ready.recv_timeout(SOON).is_err());
        let error = link.run(&["true"]).unwrap_err().to_string();
        assert!(error.contains("the guest has ended"), "{error}");
    }

    #[test]
    fn senseless_commands_are_refused() {
        let (link, _ready, _guest) = link();
        assert!(link.run(&["nul\0in"]).is_err());
        assert!(link.run(&[&"x".repeat(LARGEST_BODY)]).is_err());
    }
}
