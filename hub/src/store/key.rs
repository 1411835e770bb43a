//! The key that lock tokens are signed with, beside the journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use roadbed::http::TokenKey;

use crate::error::{Failure, Result};

const FILE: &str = "token.key";

/// The key in the folder at `dir`, which is made if there is none. The caller has the folder for itself.
pub(super) fn in_folder(dir: &Path) -> Result<TokenKey> {
    let path = dir.join(FILE);
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        Failure::unavailable(format!("cannot {what} {}: {why}", path.display()))
    };
    match std::fs::read(&path) {
        Ok(bytes) => match bytes.try_into() {
            Ok(key) => Ok(TokenKey(key)),
            Err(_) => Err(failed("use", &"it is not 32 bytes long")
                .help("remove it for a new one: locks of before are then lost, and their messages come again")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = TokenKey::random().map_err(|error| failed("make", &error))?;
            write(dir, &path, &key).map_err(|error| failed("write", &error))?;
            Ok(key)
        }
        Err(error) => Err(failed("read", &error)),
    }
}

/// Writes it whole or not at all, for nobody else to read.
fn write(dir: &Path, path: &Path, key: &TokenKey) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(&key.0)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_key() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = in_folder(one.path()).unwrap();
        assert_eq!(in_folder(one.path()).unwrap(), key);
        assert_ne!(in_folder(other.path()).unwrap(), key);
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        in_folder(folder.path()).unwrap();
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn half_a_key_is_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), [7; 16]).unwrap();
        let error = in_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("token.key: it is not 32 bytes long") && error.contains("remove it"), "{error}");
    }
}
