//! Certificates to develop and to test with: an authority of one's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::TlsError;

/// What is made.
#[derive(Clone, Debug)]
pub struct Make {
    /// The names of the server: of hosts, or numbers; with none, no certificate of a server is made.
    pub server_names: Vec<String>,
    /// The names of clients, one certificate each.
    pub clients: Vec<String>,
    /// Whether files that are there are written over; without it, an authority that is there is used again.
    pub force: bool,
}

impl Default for Make {
    fn default() -> Self {
        let local = ["localhost", "127.0.0.1", "::1"];
        Self { server_names: local.map(Into::into).into(), clients: vec!["client".into()], force: false }
    }
}

/// Writes `ca.pem` and `ca.key`, `server.pem` and `server.key`, and a pair for each client into `folder`, and answers the files in this order. Keys can be read by nobody
/// else.
///
/// # Errors
/// If a file is there already, or cannot be written.
pub fn make(folder: &Path, what: &Make) -> Result<Vec<PathBuf>, TlsError> {
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let mut pen = Pen { folder, force: what.force, written: Vec::new() };
    let authority = pen.authority()?;
    if let Some(first) = what.server_names.first() {
        let mut server = CertificateParams::new(what.server_names.clone())?;
        server.distinguished_name.push(DnType::CommonName, first.as_str());
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        pen.signed("server", server, &authority)?;
    }
    for name in &what.clients {
        let mut client = CertificateParams::new(Vec::new())?;
        client.distinguished_name.push(DnType::CommonName, name);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        pen.signed(name, client, &authority)?;
    }
    Ok(pen.written)
}

/// A certificate for a client that no authority has signed, and its key: in PEM.
///
/// # Errors
/// If there is no randomness.
pub fn self_signed(name: &str) -> Result<(String, String), TlsError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

struct Pen<'a> {
    folder: &'a Path,
    force: bool,
    written: Vec<PathBuf>,
}

impl Pen<'_> {
    /// The authority that is there, or a new one.
    fn authority(&mut self) -> Result<Issuer<'static, KeyPair>, TlsError> {
        let (cert, key) = (self.folder.join("ca.pem"), self.folder.join("ca.key"));
        if !self.force && cert.exists() && key.exists() {
            let key = KeyPair::from_pem(&fs::read_to_string(&key).map_err(failed(&key))?)?;
            let cert = fs::read_to_string(&cert).map_err(failed(&cert))?;
            return Ok(Issuer::from_ca_cert_pem(&cert, key)?);
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "Roadbed development CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let made = params.self_signed(&key)?;
        self.pair("ca", &made.pem(), &key)?;
        Ok(Issuer::new(params, key))
    }

    fn signed(
        &mut self,
        name: &str,
        mut params: CertificateParams,
        authority: &Issuer<'_, KeyPair>,
    ) -> Result<(), TlsError> {
        let key = KeyPair::generate()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&key, authority)?;
        self.pair(name, &made.pem(), &key)
    }

    fn pair(&mut self, name: &str, cert: &str, key: &KeyPair) -> Result<(), TlsError> {
        self.write(&format!("{name}.pem"), cert.as_bytes(), 0o644)?;
        self.write(&format!("{name}.key"), key.serialize_pem().as_bytes(), 0o600)
    }

    fn write(&mut self, name: &str, content: &[u8], mode: u32) -> Result<(), TlsError> {
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        if self.force {
            // Not into a file that others may read.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path)(error)),
                _ => {}
            }
        }
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let written = options.open(&path).and_then(|mut file| file.write_all(content));
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => TlsError::Exists(path.clone()),
            _ => failed(&path)(error),
        })?;
        self.written.push(path);
        Ok(())
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::File { path, source }
}
