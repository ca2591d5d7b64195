//! Ctrl-C: the waits of this crate end early, so that the guards are dropped and clean up.

use std::fmt;
use std::io;

use crate::sys;

/// The error of a wait that a signal cut short.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// From now on SIGINT, SIGTERM and SIGHUP end the waits of this crate instead of the program. A second one ends the program.
///
/// # Errors
/// If the kernel refuses the handlers.
pub fn catch() -> io::Result<()> {
    sys::catch_interrupts()
}

/// [`Interrupted`], if the program was asked to end.
///
/// # Errors
/// That is all it does.
pub fn check() -> Result<(), Interrupted> {
    if sys::interrupted() { Err(Interrupted) } else { Ok(()) }
}
