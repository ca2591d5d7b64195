//! Captures frames into a pcapng file while the stack runs.
//!
//! A worker must never wait for a disk: it copies the frame into a bounded queue, and a thread of its
//! own writes. What does not fit is counted, and the end of the capture says how much it was.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crossbeam_queue::ArrayQueue;

use super::pcapng::{LinkType, PcapngWriter};
use crate::datapath::capture::{self, CaptureSink, Direction};

/// Frames that may wait to be written.
const QUEUE: usize = 16_384;
/// How often the writer looks. It is not woken, so that a frame costs its worker no system call.
const PERIOD: Duration = Duration::from_millis(5);

/// A capture under way. [`finish`](Capture::finish) ends it.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    queue: Arc<Queue>,
    writer: Option<JoinHandle<io::Result<u64>>>,
}

/// What became of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureSummary {
    /// The file.
    pub path: PathBuf,
    /// Frames that were written.
    pub written: u64,
    /// Frames that were not, because the writer did not keep up.
    pub lost: u64,
}

#[derive(Debug)]
struct Queue {
    frames: ArrayQueue<Frame>,
    lost: AtomicU64,
    finished: AtomicBool,
}

#[derive(Debug)]
struct Frame {
    interface: u32,
    time: Duration,
    direction: Direction,
    bytes: Box<[u8]>,
}

impl Capture {
    /// Starts a capture into a new file at `path`. `name` gives the name of an interface by its
    /// index; it is called once for each, on the writer's thread.
    ///
    /// # Errors
    /// When the file cannot be created or the thread cannot be started.
    pub fn start(
        path: &Path,
        link_type: LinkType,
        name: impl Fn(u32) -> String + Send + 'static,
    ) -> io::Result<Capture> {
        let output = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let queue = Arc::new(Queue {
            frames: ArrayQueue::new(QUEUE),
            lost: AtomicU64::new(0),
            finished: AtomicBool::new(false),
        });
        let for_writer = queue.clone();
        let writer = thread::Builder::new()
            .name("sctp-capture".to_owned())
            .spawn(move || write(&for_writer, output, link_type, name))?;
        Ok(Capture { path: path.to_owned(), queue, writer: Some(writer) })
    }

    /// What links record their frames with.
    pub fn sink(&self) -> CaptureSink {
        CaptureSink::new(self.queue.clone())
    }

    /// Ends the capture: writes what waits, and closes the file.
    ///
    /// # Errors
    /// The first error of writing the file.
    pub fn finish(mut self) -> io::Result<CaptureSummary> {
        let written = self.end()?;
        let lost = self.queue.lost.load(Ordering::Relaxed);
        Ok(CaptureSummary { path: self.path.clone(), written, lost })
    }

    fn end(&mut self) -> io::Result<u64> {
        self.queue.finished.store(true, Ordering::Release);
        match self.writer.take() {
            Some(writer) => {
                writer.thread().unpark();
                writer.join().unwrap_or_else(|_| Err(io::Error::other("the capture's writer panicked")))
            }
            None => Ok(0),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Whoever wants to know of errors calls `finish`.
        let _ = self.end();
    }
}

impl capture::Capture for Queue {
    fn frame(&self, interface: u32, direction: Direction, bytes: &[u8]) {
        if self.frames.is_full() || self.finished.load(Ordering::Relaxed) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // A clock before 1970 gives 0.
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let frame = Frame { interface, time, direction, bytes: bytes.into() };
        if self.frames.push(frame).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The writer's thread. An error ends the capture; frames are counted as lost from then on.
fn write(queue: &Queue, output: impl Write, link_type: LinkType, name: impl Fn(u32) -> String) -> io::Result<u64> {
    let mut written = 0;
    let result = (|| {
        let mut writer = PcapngWriter::new(output)?;
        loop {
            // In this order: what was put in before the end is still written.
            let finished = queue.finished.load(Ordering::Acquire);
            while let Some(frame) = queue.frames.pop() {
                if !writer.knows(frame.interface) {
                    writer.interface(frame.interface, &name(frame.interface), link_type)?;
                }
                writer.frame(frame.interface, frame.time, frame.direction, &frame.bytes, "")?;
                written += 1;
            }
            // Also in between, so that a capture that is killed is of use.
            writer.flush()?;
            if finished {
                return Ok(());
            }
            thread::park_timeout(PERIOD);
        }
    })();
    if result.is_err() {
        queue.finished.store(true, Ordering::Release);
    }
    result.map(|()| written)
}

impl std::fmt::Display for CaptureSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "captured {} frames to {}", self.written, self.path.display())?;
        if self.lost > 0 {
            write!(f, "; {} more were lost because the disk did not keep up", self.lost)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("capture.pcapng");
        let name = |index| format!("eth{index}");
        let capture = Capture::start(&path, LinkType::Ethernet, name).unwrap();
        let (sink, queue) = (capture.sink(), capture.queue.clone());
        for _ in 0..100 {
            sink.frame(3, Direction::Inbound, &[1; 60]);
            sink.frame(4, Direction::Outbound, &[2; 61]);
        }
        let summary = capture.finish().unwrap();
        assert_eq!(summary.written + summary.lost, 200);
        assert_eq!(summary.lost, 0);
        let bytes = std::fs::read(&path).unwrap();
        let holds = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
        assert!(holds(b"eth3") && holds(b"eth4"), "the interfaces' names");
        // After the end frames are counted as lost, not kept.
        sink.frame(3, Direction::Inbound, &[1; 60]);
        assert_eq!(queue.lost.load(Ordering::Relaxed), 1);
        assert!(queue.frames.is_empty(), "nothing is kept");
    }

    #[test]
    fn losses_are_said() {
        let summary = CaptureSummary { path: "x".into(), written: 3, lost: 2 };
        assert_eq!(summary.to_string(), "captured 3 frames to x; 2 more were lost because the disk did not keep up");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error() {
        let path = Path::new("/proc/there-is-no-such-directory/x.pcapng");
        assert!(Capture::start(path, LinkType::Ip, |_| String::new()).is_err());
    }
}
