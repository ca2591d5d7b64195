//! Times on a machine that others use, too.
//!
//! What others do slows the program down for as long as they do it: by a few parts in a hundred, or, when they take the CPU away, by
//! milliseconds. So a frame's runs and the same with the bare program take turns in slices that are far shorter than that, and each slice
//! is compared with its neighbour alone. The median of the differences is the figure. Rows take turns, too, so that what lasts for
//! a second meets all of them. Beside the median stand the quartiles, and what a quiet machine would show: the difference of the
//! fastest slices.

use std::os::fd::{AsFd as _, BorrowedFd};

use anyhow::{Result, ensure};

use super::super::program::Program;
use super::harness::{Handmade, RandomTag, time};

/// How long a measurement is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slices {
    /// Runs in a slice. The kernel needs a grace period of RCU, some ten milliseconds, before each.
    pub(super) repeat: u32,
    /// Slices of each program.
    pub(super) rounds: usize,
}

/// A program on a frame, in front of it whoever restores the frame, and the same with the bare program.
pub(super) struct Side {
    with: Handmade,
    without: Handmade,
    /// Nanoseconds of a run in each slice, with the program and without.
    times: Vec<[i64; 2]>,
}

impl Side {
    /// `program` on `frame`, which it leaves at a length of `left` bytes.
    pub(super) fn new(program: &Program, frame: &[u8], left: usize, tag: Option<RandomTag>) -> Result<Self> {
        let bare = Handmade::bare()?;
        let restorer = |next: BorrowedFd<'_>| Handmade::restorer(frame, left, tag, next);
        let with = restorer(program.descriptor()?.as_fd())?;
        let (_, returned) = time(with.descriptor(), frame, 1)?;
        ensure!(returned != 0, "the restorer did not get into the program");
        Ok(Self { with, without: restorer(bare.descriptor())?, times: Vec::new() })
    }

    fn slice(&mut self, frame: &[u8], repeat: u32) -> Result<()> {
        let measure =
            |program: &Handmade| Ok::<i64, anyhow::Error>(time(program.descriptor(), frame, repeat)?.0.try_into()?);
        self.times.push([measure(&self.with)?, measure(&self.without)?]);
        Ok(())
    }

    /// What the measurement comes to.
    pub(super) fn figures(&self) -> Figures {
        Figures::of(&self.times)
    }
}

/// Nanoseconds of a run, over the bare program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) median: i64,
    pub(super) quartiles: [i64; 2],
    /// The fastest slices but a tenth, with the program and without.
    pub(super) quiet: i64,
}

impl Figures {
    /// The figures of slices with the program and without.
    fn of(times: &[[i64; 2]]) -> Self {
        let differences = sorted(times.iter().map(|[with, without]| with - without));
        let fast = |side: usize| at(&sorted(times.iter().map(|times| times[side])), 10);
        Self {
            median: at(&differences, 50),
            quartiles: [at(&differences, 25), at(&differences, 75)],
            quiet: fast(0) - fast(1),
        }
    }
}

/// Measures some frames, each with any number of programs.
pub(super) fn measure(rows: &mut [(&[u8], Vec<Side>)], slices: Slices) -> Result<()> {
    stay_on_this_cpu()?;
    for _ in 0..slices.rounds {
        for (frame, sides) in &mut *rows {
            for side in sides {
                side.slice(frame, slices.repeat)?;
            }
        }
    }
    Ok(())
}

/// Keeps this thread where it is: caches are to stay warm.
fn stay_on_this_cpu() -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(rustix::thread::sched_getcpu());
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

fn sorted(numbers: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut numbers: Vec<i64> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// The number below which `percent` of the sorted `numbers` are.
fn at(numbers: &[i64], percent: usize) -> i64 {
    numbers.get(numbers.len() * percent / 100).copied().unwrap_or_default()
}

#[test]
fn a_slice_is_compared_with_its_neighbour() {
    // Others slow the CPU down for two thirds of the time, and take it away once.
    let mut times = vec![[300, 200]; 60];
    times.extend([[150, 100]; 30]);
    times.push([9_000, 100]);
    assert_eq!(Figures::of(&times), Figures { median: 100, quartiles: [50, 100], quiet: 50 });
}
