//! What a command ends with when it does not do what was asked.

use std::fmt;
use std::process::ExitCode;

use roadbed::ErrorKind;

/// The result of a command.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command failed: one line that says what is wrong, and, where there is one, a line that says what to do.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    help: Option<String>,
    broken_pipe: bool,
}

/// The kind of failure: the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What was asked for did not happen: a message was refused, a check of the demo failed.
    Refused = 1,
    /// The command line or the configuration is not right.
    Usage = 2,
    /// Something outside cannot be had: a port, a server, a file.
    Unavailable = 3,
}

impl Failure {
    /// What was asked for did not happen.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// The command line or the configuration is not right.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something outside cannot be had.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.help = Some(help.to_string());
        self
    }

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Standard output cannot be written to.
    #[allow(clippy::needless_pass_by_value)] // the signature that `map_err` wants
    pub(crate) fn output(error: std::io::Error) -> Self {
        let broken_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { broken_pipe, ..Self::unavailable(format!("cannot write to standard output: {error}")) }
    }

    /// Whether nobody reads our output any more.
    pub(crate) const fn is_broken_pipe(&self) -> bool {
        self.broken_pipe
    }

    fn new(kind: Kind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), help: None, broken_pipe: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<roadbed::Error> for Failure {
    /// With all its causes, since nobody asks a program for them.
    fn from(error: roadbed::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        match error.kind() {
            ErrorKind::Invalid | ErrorKind::NotSupported => Self::usage(message),
            ErrorKind::Disconnected | ErrorKind::Unavailable | ErrorKind::TimedOut => Self::unavailable(message),
            _ => Self::refused(message),
        }
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        Self::from(kind as u8)
    }
}
