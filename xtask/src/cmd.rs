//! A child process: shown as a line that can be pasted into a shell, then run with its output streaming through.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;

/// A command with its arguments and what it changes in the environment. Runs in the root of the workspace, without standard input.
#[derive(Debug, Clone)]
pub(crate) struct Cmd {
    program: String,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
}

impl Cmd {
    pub(crate) fn new(program: impl Into<String>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    /// `cargo` followed by `args`, split at white space.
    pub(crate) fn cargo(args: &str) -> Self {
        Self::new("cargo").words(args)
    }

    /// Adds `args`, split at white space.
    pub(crate) fn words(self, args: &str) -> Self {
        self.args(args.split_whitespace())
    }

    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.env.push((name, value.into()));
        self
    }

    /// Looks for programs in `dir` first. Not shown in the line: a shell needs it only for what is installed nowhere else.
    pub(crate) fn path(self, dir: &Path) -> Self {
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::iter::once(dir.to_path_buf()).chain(std::env::split_paths(&rest));
        match std::env::join_paths(dirs) {
            Ok(path) => self.env("PATH", path.to_string_lossy()),
            Err(_) => self,
        }
    }

    /// Shows the command and runs it to its end.
    ///
    /// # Errors
    /// The program cannot be started, or did not succeed: the error holds the whole command line.
    pub(crate) fn run(&self) -> Result {
        println!("\n$ {self}");
        let status = self.command().status().map_err(|e| format!("cannot start {}: {e}\n  $ {self}", self.program))?;
        if status.success() { Ok(()) } else { Err(format!("{status}\n  $ {self}").into()) }
    }

    /// Runs the command without showing it, and returns what it printed.
    ///
    /// # Errors
    /// As [`Cmd::run`].
    pub(crate) fn output(&self) -> Result<String> {
        let output =
            self.command().stderr(Stdio::inherit()).output().map_err(|e| format!("cannot start `{self}`: {e}"))?;
        if !output.status.success() {
            return Err(format!("{}\n  $ {self}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs the command, which must not succeed, without showing it, and returns what it said on standard error.
    ///
    /// # Errors
    /// The program cannot be started, or succeeded.
    pub(crate) fn failure(&self) -> Result<String> {
        let output = self.command().output().map_err(|e| format!("cannot start `{self}`: {e}"))?;
        match output.status.success() {
            true => Err(format!("it should have failed\n  $ {self}").into()),
            false => Ok(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Runs the command without showing anything; true when it succeeded.
    pub(crate) fn succeeds(&self) -> bool {
        let status = self.command().stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|s| s.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null());
        for name in leaked() {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// What `cargo run` set for xtask itself: a child that saw it would not be the one that the same line starts in a shell.
fn leaked() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name == "CARGO"
            || name == "CARGO_BIN_NAME"
            || name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
    })
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.env.iter().filter(|(name, _)| *name != "PATH") {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", quoted(arg)))
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shown_is_the_line_to_type() {
        let cmd = Cmd::cargo("test --doc").arg("it's").env("A", "b c").env("PATH", "/x");
        assert_eq!(cmd.to_string(), r"A='b c' cargo test --doc 'it'\''s'");
    }

    #[test]
    fn a_failure_names_the_command() {
        let error = Cmd::new("false").run().unwrap_err().to_string();
        assert!(error.ends_with("$ false"), "{error}");
        assert!(Cmd::new("no-such-program-here").run().is_err());
    }
}
