//! A file of users: `NAME = "HASH"`, as in the configuration.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::{Secrets, Users};
use crate::error::{Failure, Result};

/// The users of the file.
///
/// # Errors
/// If it cannot be read, or is not one.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Secrets>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the users {name}: {error}"))
            .help(format!("`roadbed user add NAME --file {name}` makes the file"))
    })?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{name}: {}", error.message())))
}

/// Lets `user` in with `secrets`, and with nothing that was there before; whether it is new. The file is made if there is none.
pub(crate) fn add(path: &Path, user: &str, secrets: Secrets) -> Result<bool> {
    let mut users = if path.exists() { read(path)? } else { BTreeMap::new() };
    let new = users.insert(user.to_owned(), secrets).is_none();
    Users::new(&users)?;
    write(path, &users).map(|()| new)
}

/// Lets `user` in no more.
///
/// # Errors
/// If there is no such user.
pub(crate) fn remove(path: &Path, user: &str) -> Result {
    let mut users = read(path)?;
    if users.remove(user).is_none() {
        return Err(Failure::refused(format!("there is no user \"{user}\" in {}", path.display())));
    }
    write(path, &users)
}

/// Under another name first, so that whoever reads it meanwhile finds all or nothing; only its owner may read it.
fn write(path: &Path, users: &BTreeMap<String, Secrets>) -> Result {
    let failed = |error: std::io::Error| Failure::unavailable(format!("cannot write {}: {error}", path.display()));
    let text = toml::to_string(users).map_err(|error| Failure::unavailable(format!("cannot write users: {error}")))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}
