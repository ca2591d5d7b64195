//! Child processes that do not outlive their guard.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{interrupt, sys, tool};

/// How long a wait sleeps before it looks whether the program was interrupted.
const SLICE: Duration = Duration::from_millis(50);

/// A child process whose output is read as it comes. Killed when dropped.
///
/// Commands come from [`Namespace::command`](crate::Namespace::command), or from [`here`]; or they run in a
/// [`Guest`](crate::uml::Guest).
#[derive(Debug)]
pub struct Process {
    line: String,
    control: Box<dyn Control>,
    stdout: Receiver<String>,
    stdout_so_far: Vec<String>,
    stderr: Receiver<String>,
    status: Option<ExitStatus>,
}

/// How a process is reached: a child of this one, or a command in a guest.
pub(crate) trait Control: fmt::Debug + Send {
    /// Its number, where signals are sent to.
    fn id(&self) -> u32;

    /// Writes to its stdin.
    fn write(&mut self, data: &[u8]) -> io::Result<()>;

    /// Sends a signal.
    fn signal(&mut self, signal: i32) -> io::Result<()>;

    /// How it ended, if it has.
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>>;

    /// Kills it and waits until that is done. How it ended, if that can still be known.
    fn kill(&mut self) -> Option<ExitStatus>;
}

/// What comes from a process, beside the way to reach it.
#[derive(Debug)]
pub(crate) struct Output {
    /// Lines of stdout, until it is closed.
    pub(crate) stdout: Receiver<String>,
    /// All of stderr, when that is closed.
    pub(crate) stderr: Receiver<String>,
}

/// What a process left when it ended.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All lines that it printed on stdout.
    pub stdout: Vec<String>,
    /// All that it printed on stderr.
    pub stderr: String,
}

impl Finished {
    /// The last line of stdout, read as JSON: where the programs of this project put their summary.
    ///
    /// # Errors
    /// If there is no such line.
    pub fn summary(&self) -> Result<serde_json::Value> {
        let line =
            self.stdout.last().with_context(|| format!("no summary was printed; stderr: {}", self.stderr.trim()))?;
        serde_json::from_str(line).with_context(|| format!("the last line is no JSON: {line}"))
    }
}

/// A command that will run in the caller's namespace, and die with the thread that spawns it.
pub fn here(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    sys::tie_to_parent(&mut command, None);
    command
}

impl Process {
    /// Starts a command. Its stdin is a pipe that [`Self::write_line`] writes to.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        Self::spawn_with_stdin(command, Stdio::piped())
    }

    /// Like [`Self::spawn`], with another stdin.
    pub(crate) fn spawn_with_stdin(command: &mut Command, stdin: Stdio) -> Result<Self> {
        let line = tool::command_line(command);
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (stdout_sender, stdout_receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout.expect("stdout is a pipe")).lines().map_while(Result::ok) {
                if stdout_sender.send(line).is_err() {
                    break;
                }
            }
        });
        let (stderr_sender, stderr_receiver) = channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            // What could be read before an error is what there is to show.
            let _ = stderr.expect("stderr is a pipe").read_to_end(&mut text);
            // Nobody may be interested any more.
            let _ = stderr_sender.send(String::from_utf8_lossy(&text).into_owned());
        });
        Ok(Self::new(line, Box::new(child), Output { stdout: stdout_receiver, stderr: stderr_receiver }))
    }

    /// The guard of something that runs already; `line` is what it is called in errors.
    pub(crate) fn new(line: String, control: Box<dyn Control>, output: Output) -> Self {
        let Output { stdout, stderr } = output;
        Self { line, control, stdout, stdout_so_far: Vec::new(), stderr, status: None }
    }

    /// The process id; in a guest, the number by which the host knows the command.
    pub fn id(&self) -> u32 {
        self.control.id()
    }

    /// How much time of processors the threads that it has now have had, by themselves and in the kernel. Not for one in a guest.
    ///
    /// # Errors
    /// If it has ended, or the kernel does not keep account (`CONFIG_SCHED_INFO`).
    pub fn cpu_time(&self) -> Result<Duration> {
        let path = format!("/proc/{}/task", self.id());
        let (mut nanoseconds, mut threads) = (0, 0);
        for thread in std::fs::read_dir(&path).with_context(|| path.clone())? {
            let path = thread?.path().join("schedstat");
            let Ok(account) = std::fs::read_to_string(&path) else {
                // A thread may have ended in the meantime.
                continue;
            };
            nanoseconds +=
                running_time(&account).with_context(|| format!("no time in {}: {account}", path.display()))?;
            threads += 1;
        }
        ensure!(threads > 0, "no thread of {path} has an account of its time");
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// The next line of stdout; `None` when the process has closed it.
    ///
    /// # Errors
    /// If none comes in time, or the program is interrupted.
    pub fn next_line(&mut self, timeout: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + timeout;
        loop {
            interrupt::check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            match self.stdout.recv_timeout(left.min(SLICE)) {
                Ok(line) => {
                    self.stdout_so_far.push(line.clone());
                    return Ok(Some(line));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    bail!("`{}` printed nothing for {timeout:?}", self.line)
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for a line of stdout that contains `text`, and returns it.
    ///
    /// # Errors
    /// If it does not come in time, or the process ends before: then with what it printed on stderr.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_line(left).with_context(|| format!("waiting for a line with “{text}”"))? {
                Some(line) if line.contains(text) => return Ok(line),
                Some(_) => {}
                None => {
                    let line = self.line.clone();
                    let finished = self.wait(Duration::from_secs(10))?;
                    bail!(
                        "`{line}` ended ({}) without a line with “{text}”: {}",
                        finished.status,
                        finished.stderr.trim()
                    );
                }
            }
        }
    }

    /// Writes one line to the process's stdin.
    ///
    /// # Errors
    /// If the process does not read it any more.
    pub fn write_line(&mut self, line: &str) -> Result<()> {
        self.control.write(format!("{line}\n").as_bytes()).with_context(|| self.line.clone())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if self.has_ended()? {
            bail!("`{}` has ended already", self.line);
        }
        self.control.signal(signal).with_context(|| self.line.clone())
    }

    /// Asks the process to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// If it does not end in time; it is killed then.
    pub fn stop(&mut self, timeout: Duration) -> Result<Finished> {
        if !self.has_ended()? {
            self.control.signal(libc::SIGTERM).with_context(|| self.line.clone())?;
        }
        self.wait(timeout)
    }

    /// Waits for the process to end.
    ///
    /// # Errors
    /// If it does not end in time, or the program is interrupted; it is killed then.
    pub fn wait(&mut self, timeout: Duration) -> Result<Finished> {
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_millis(1);
        while !self.has_ended()? {
            let stop = interrupt::check().map_err(anyhow::Error::from).and_then(|()| {
                if Instant::now() < deadline { Ok(()) } else { bail!("`{}` did not end in {timeout:?}", self.line) }
            });
            if let Err(error) = stop {
                self.kill();
                let stderr = self.stderr.recv().unwrap_or_default();
                return Err(if stderr.trim().is_empty() { error } else { error.context(stderr.trim().to_owned()) });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(SLICE);
        }
        // The process has ended, so its side of the pipes is closed and both readers come to their end.
        while let Ok(line) = self.stdout.recv() {
            self.stdout_so_far.push(line);
        }
        Ok(Finished {
            status: self.status.expect("it has ended"),
            stdout: std::mem::take(&mut self.stdout_so_far),
            stderr: self.stderr.recv().unwrap_or_default(),
        })
    }

    /// Waits for the process to end well, and returns the JSON of its last line.
    ///
    /// # Errors
    /// As [`Self::wait`], and if its exit status is not 0.
    pub fn summary(&mut self, timeout: Duration) -> Result<serde_json::Value> {
        let finished = self.wait(timeout)?;
        if !finished.status.success() {
            let last = finished.stdout.last().map_or("", String::as_str);
            bail!("`{}` failed ({}): {}\n{last}", self.line, finished.status, finished.stderr.trim());
        }
        finished.summary().with_context(|| self.line.clone())
    }

    /// True if the process has ended.
    ///
    /// # Errors
    /// If the kernel cannot say.
    pub fn has_ended(&mut self) -> Result<bool> {
        if self.status.is_none() {
            self.status = self.control.try_wait()?;
        }
        Ok(self.status.is_some())
    }

    fn kill(&mut self) {
        self.status = self.control.kill();
    }
}

impl Control for Child {
    fn id(&self) -> u32 {
        Child::id(self)
    }

    fn write(&mut self, data: &[u8]) -> io::Result<()> {
        io::Write::write_all(self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?, data)
    }

    fn signal(&mut self, signal: i32) -> io::Result<()> {
        sys::kill(Child::id(self), signal)
    }

    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        Child::try_wait(self)
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        // Both fail only if it has been waited for already.
        let _ = Child::kill(self);
        self.wait().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
        }
    }
}

/// The nanoseconds that a thread has run, in its `schedstat`; behind them are those that it has waited, and how often.
fn running_time(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(running_time("123456 77 3\n"), Some(123_456));
        assert_eq!(running_time(""), None);
        let process = Process::spawn(Command::new("sh").args(["-c", "while :; do :; done"])).unwrap();
        while process.cpu_time().unwrap() < Duration::from_millis(10) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    const SOON: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Process {
        Process::spawn(here("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn lines_come_as_they_are_printed() {
        let mut process = shell("echo one; echo two; read -r word; echo \"$word\"");
        assert_eq!(process.wait_for_line("two", SOON).unwrap(), "two");
        process.write_line("three").unwrap();
        let finished = process.wait(SOON).unwrap();
        assert!(finished.status.success());
        assert_eq!(finished.stdout, ["one", "two", "three"]);
    }

    #[test]
    fn a_line_that_never_comes_is_an_error_with_the_reason() {
        let error = shell("echo reason >&2; exit 7").wait_for_line("ready", SOON).unwrap_err().to_string();
        assert!(error.contains("exit status: 7") && error.contains("reason"), "{error}");
        let error = format!("{:#}", shell("sleep 60").wait_for_line("ready", Duration::from_millis(20)).unwrap_err());
        assert!(error.contains("printed nothing") && error.contains("ready"), "{error}");
    }

    #[test]
    fn a_process_that_does_not_end_is_killed() {
        let mut process = shell("exec sleep 60");
        let error = process.wait(Duration::from_millis(20)).unwrap_err().to_string();
        assert!(error.contains("did not end"), "{error}");
        assert!(!sys::process_exists(process.id().try_into().unwrap()));
    }

    #[test]
    fn a_process_is_asked_to_end() {
        let mut process = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
        process.wait_for_line("ready", SOON).unwrap();
        let finished = process.stop(SOON).unwrap();
        assert_eq!(finished.stdout.last().unwrap(), "bye");
    }

    #[test]
    fn a_dropped_process_is_dead() {
        let process = shell("exec sleep 60");
        let pid = process.id();
        drop(process);
        assert!(!sys::process_exists(pid.try_into().unwrap()));
    }

    #[test]
    fn a_process_dies_with_the_thread_that_started_it() {
        let process = std::thread::spawn(|| shell("exec sleep 60")).join().unwrap();
        let mut process = process;
        let finished = process.wait(SOON).unwrap();
        assert!(!finished.status.success());
    }

    #[test]
    fn a_summary_is_the_last_line() {
        let summary = shell("echo text; echo '{\"sent\":3}'").summary(SOON).unwrap();
        assert_eq!(summary["sent"], 3);
        let error = format!("{:#}", shell("echo text").summary(SOON).unwrap_err());
        assert!(error.contains("no JSON"), "{error}");
        let error = shell("echo broken >&2; exit 1").summary(SOON).unwrap_err().to_string();
        assert!(error.contains("broken"), "{error}");
    }
}
