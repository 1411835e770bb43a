use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::unescape;

/// The URL of a server, taken apart as every client reads it: `scheme://user:password@host:port/path?option=value&...`. The path is not looked at, and
/// everything else but host and port may be percent-encoded.
#[derive(Clone, Copy)]
pub struct ServerUrl<'a> {
    /// What stands before `://`.
    pub scheme: &'a str,
    login: Option<&'a str>,
    server: &'a str,
    options: &'a str,
}

/// Who a URL says wants to come in.
#[derive(Clone)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// What stands behind a colon, if there is one.
    pub password: Option<Vec<u8>>,
}

impl<'a> ServerUrl<'a> {
    /// Takes `url` apart.
    ///
    /// # Errors
    /// In words, if it has no `://`.
    pub fn new(url: &'a str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or("there is no `://`")?;
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (login, server) =
            authority.rsplit_once('@').map_or((None, authority), |(login, server)| (Some(login), server));
        Ok(Self { scheme, login, server, options })
    }

    /// Who wants to come in.
    ///
    /// # Errors
    /// In words, if an escape is broken or the name is not UTF-8.
    pub fn login(&self) -> Result<Option<Login>, String> {
        let Some(login) = self.login else { return Ok(None) };
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        Ok(Some(Login { user: text(user)?, password: password.map(bytes).transpose()? }))
    }

    /// A name or a number, without the brackets of IPv6, and the port.
    ///
    /// # Errors
    /// In words, if there is no host, or a port that is none.
    pub fn host_and_port(&self, port_default: u16) -> Result<(String, u16), String> {
        let (host, port) = match self.server.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("the bracket of the host is not closed")?;
                (host, rest.strip_prefix(':'))
            }
            None => self.server.split_once(':').map_or((self.server, None), |(host, port)| (host, Some(port))),
        };
        if host.is_empty() {
            return Err("there is no host".into());
        }
        let port = port.map_or(Ok(port_default), |port| port.parse().map_err(|_| format!("`{port}` is no port")))?;
        Ok((host.to_string(), port))
    }

    /// The options with their values, which are empty where there is none.
    ///
    /// # Errors
    /// Each in words, if an escape is broken or it is not UTF-8.
    pub fn options(&self) -> impl Iterator<Item = Result<(String, String), String>> + use<'a> {
        self.options.split('&').filter(|option| !option.is_empty()).map(|option| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            Ok((text(name)?, text(value)?))
        })
    }
}

impl core::fmt::Debug for Login {
    /// Never shows the password.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

impl core::fmt::Debug for ServerUrl<'_> {
    /// Never shows the password.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ServerUrl({}://{})", self.scheme, self.server)
    }
}

fn text(encoded: &str) -> Result<String, String> {
    String::from_utf8(bytes(encoded)?).map_err(|_| format!("`{encoded}` is not UTF-8"))
}

fn bytes(encoded: &str) -> Result<Vec<u8>, String> {
    unescape(encoded, '%').map_err(|_| format!("`{encoded}` has a `%` without two hexadecimal digits"))
}
