//! Where to connect to, and what to send to or receive from there.

use std::fmt;
use std::str::FromStr;

use roadbed_core::{Address, Error, ErrorKind, Filter, Result};

/// A URL of a message server: `mqtt://user:password@host:port/topic/name?version=5`.
///
/// The path is an [`Address`] or a [`Filter`], with everything but slashes percent-encoded as need be. `+` and `#` stand for
/// themselves: no URL of a message server has a fragment. An empty path names nothing.
///
/// ```
/// let url: roadbed::Url = "mqtt://alice:s%20ecret@[::1]/plant/+/alarm".parse()?;
/// assert_eq!((url.scheme(), url.host(), url.port()), ("mqtt", "::1", None));
/// assert_eq!(url.filter()?.as_str(), "plant/+/alarm");
/// assert!(url.address().is_err());
/// # Ok::<_, roadbed::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: Option<u16>,
    path: String,
    options: Vec<(String, String)>,
}

impl Url {
    /// The protocol, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user's name.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The user's password.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// A name or a number, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one is named.
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The decoded path without its first slash; empty if nothing is named.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value of an option.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The names of all options, in order.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().map(|(name, _)| name.as_str())
    }

    /// The path as an address.
    ///
    /// # Errors
    /// If it is empty or has wildcards.
    pub fn address(&self) -> Result<Address> {
        self.path.parse().map_err(|error| self.wrong(format_args!("`{}` is no address: {error}", self.path)))
    }

    /// The path as a filter.
    ///
    /// # Errors
    /// If it is empty or has wildcards in the wrong place.
    pub fn filter(&self) -> Result<Filter> {
        self.path.parse().map_err(|error| self.wrong(format_args!("`{}` is no filter: {error}", self.path)))
    }

    /// The server alone, without secrets: for messages to people.
    pub fn server(&self) -> String {
        let port = self.port.map_or_else(String::new, |port| format!(":{port}"));
        match self.host.contains(':') {
            true => format!("{}://[{}]{port}", self.scheme, self.host),
            false => format!("{}://{}{port}", self.scheme, self.host),
        }
    }

    fn wrong(&self, what: fmt::Arguments<'_>) -> Error {
        Error::new(ErrorKind::Invalid, "read the URL").detail(format_args!("{}: {what}", self.server()))
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).map_err(|why| {
            Error::new(ErrorKind::Invalid, "read the URL")
                .detail(format_args!("{why}; a URL is such as mqtt://user:password@host:1883/topic/name"))
        })
    }
}

fn parse(text: &str) -> Result<Url, String> {
    let (scheme, rest) = text.split_once("://").ok_or("there is no `://`")?;
    if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+') {
        return Err(format!("`{scheme}` is no protocol"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, server) = authority.rsplit_once('@').map_or((None, authority), |(login, server)| (Some(login), server));
    let (user, password) = match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
        None => (None, None),
        Some((user, password)) => (Some(decode(user)?), password.map(decode).transpose()?),
    };
    let (host, port) = host_and_port(server)?;
    let options = query.split('&').filter(|option| !option.is_empty()).map(|option| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        Ok((decode(name)?, decode(value)?))
    });
    Ok(Url {
        scheme: scheme.to_ascii_lowercase(),
        user,
        password,
        host,
        port,
        path: decode(path)?,
        options: options.collect::<Result<_, String>>()?,
    })
}

fn host_and_port(server: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("the bracket of the host is not closed")?;
            (host, rest.strip_prefix(':'))
        }
        None => server.split_once(':').map_or((server, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err("there is no host".to_owned());
    }
    let port = port.map(|port| port.parse().map_err(|_| format!("`{port}` is no port"))).transpose()?;
    Ok((host.to_owned(), port))
}

fn decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(format!("`{text}` has a `%` without two hexadecimal digits"));
        };
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| format!("`{text}` is not UTF-8"))
}

impl fmt::Debug for Url {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}/{})", self.server(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn reads_every_part() {
        let url = url("MQTT://al%40ice:p%3Ass:w@example.org:1884/a//%C3%A9?version=3.1.1&client_id=a%26b");
        assert_eq!((url.scheme(), url.host(), url.port()), ("mqtt", "example.org", Some(1884)));
        assert_eq!((url.user(), url.password()), (Some("al@ice"), Some("p:ss:w")));
        assert_eq!(url.path(), "a//é");
        assert_eq!((url.option("version"), url.option("client_id")), (Some("3.1.1"), Some("a&b")));
        assert_eq!(format!("{url:?}"), "Url(mqtt://example.org:1884/a//é)");
    }

    #[test]
    fn wildcards_stand_for_themselves() {
        assert_eq!(url("mqtt://h/+/b/#").filter().unwrap().as_str(), "+/b/#");
        assert_eq!(url("mqtt://h/#").path(), "#");
        assert!(url("mqtt://h/a/#").address().is_err());
        assert!(url("mqtt://h").address().is_err());
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("localhost", "no `://`"),
            ("mq tt://h", "no protocol"),
            ("mqtt://", "no host"),
            ("mqtt://h:port", "no port"),
            ("mqtt://h:70000", "no port"),
            ("mqtt://[::1", "not closed"),
            ("mqtt://h/%zz", "hexadecimal"),
            ("mqtt://h/%ff", "not UTF-8"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
