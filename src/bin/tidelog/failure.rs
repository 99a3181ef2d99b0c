//! Why a command did not do what it was asked, and the exit code that says so.
//!
//! A command that goes on after a failure reports it at once and ends with `Told`, the worst code
//! of all. Every code the program ends with is named here.
//!
//! Called by every command.

use std::io;
use std::process::ExitCode;

use tidelog::ErrorKind;

/// What ends a command early.
#[derive(Debug)]
pub(super) enum Failure {
    /// The library refused.
    Library(tidelog::Error),
    /// The caller asked for what cannot be.
    Usage(String),
    /// There is nothing of the name the caller gave.
    Missing(String),
    /// Input or output of this program.
    Stream(io::Error),
    /// It has been told already: nothing but the exit code is left.
    Told(Severity),
}

/// How bad it is, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// An operation failed.
    Failed = 1,
    /// The caller asked for what cannot be.
    Usage = 2,
    /// Data is damaged.
    Damaged = 3,
}

impl Severity {
    pub(super) fn of(error: &tidelog::Error) -> Self {
        match error.kind() {
            _ if error.is_corrupt() => Severity::Damaged,
            ErrorKind::InvalidArgument | ErrorKind::InvalidConfig | ErrorKind::InvalidName => {
                Severity::Usage
            }
            _ => Severity::Failed,
        }
    }
}

impl From<tidelog::Error> for Failure {
    fn from(error: tidelog::Error) -> Self {
        Failure::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Stream(error)
    }
}

/// Says what went wrong.
pub(super) fn tell(error: &tidelog::Error) -> Severity {
    eprintln!("error: {error}");
    Severity::of(error)
}

impl Failure {
    /// Says it, where that was not done, and tells the exit code.
    pub(super) fn report(self) -> ExitCode {
        let severity = match self {
            Failure::Told(severity) => severity,
            Failure::Library(error) => tell(&error),
            Failure::Usage(what) => {
                eprintln!("error: {what}");
                Severity::Usage
            }
            Failure::Missing(what) => {
                eprintln!("error: {what}");
                Severity::Failed
            }
            Failure::Stream(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitCode::SUCCESS;
            }
            Failure::Stream(error) => {
                eprintln!("error: {error}");
                Severity::Failed
            }
        };
        ExitCode::from(severity as u8)
    }
}
