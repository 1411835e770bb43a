//! `roadbed user`: looks after a file of users.

use std::io::{IsTerminal, Read};

use super::file;
use crate::cli::{self, UserCommand};
use crate::error::{Failure, Result};
use crate::output::say;

/// Does what the command says.
///
/// # Errors
/// If the file cannot be read or written, or there is no such user.
pub(crate) fn run(options: &cli::User) -> Result {
    match &options.command {
        UserCommand::Add { hash, file } => {
            let password = password_of(&hash.name)?;
            let iterations = hash.scram.then_some(hash.iterations);
            let secrets = super::secrets(password.as_bytes(), iterations)
                .map_err(|error| Failure::unavailable(format!("cannot hash a password: {error}")))?;
            let new = file::add(file, &hash.name, secrets)?;
            let what = if new { "may come in" } else { "has another password now" };
            say(format_args!("{} {what}", hash.name))
        }
        UserCommand::List { file } => file::read(file)?.keys().try_for_each(say),
        UserCommand::Remove { name, file } => {
            file::remove(file, name)?;
            say(format_args!("{name} may not come in any more"))
        }
    }
}

/// Reads the password of `name` from standard input.
///
/// # Errors
/// If there is none.
pub(crate) fn password_of(name: &str) -> Result<String> {
    if std::io::stdin().is_terminal() {
        eprintln!("The password of {name}, then ctrl-D:");
    }
    let mut password = String::new();
    std::io::stdin().read_to_string(&mut password).map_err(|error| Failure::unavailable(format!("stdin: {error}")))?;
    let password = password.trim_end_matches(['\r', '\n']);
    match password.is_empty() {
        true => Err(Failure::usage("an empty password is none")),
        false => Ok(password.to_owned()),
    }
}
